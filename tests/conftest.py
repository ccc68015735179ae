"""One event loop for every asynchronous test: Trio, through anyio's plugin."""

from __future__ import annotations

import math
import os
import signal
import sys
import uuid
from typing import TYPE_CHECKING

import hypothesis
import pytest

from p2p_copy.peer import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Signals that end a command, or make a relay reload its files."""

for _name in SIGNALS:
    # In the background of a shell, and under nohup, one is ignored, and so it would be in the processes of the tests.
    if (_number := getattr(signal, _name, None)) and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


os.umask(0o022)  # the permissions of new files depend on it

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is slow
hypothesis.settings.register_profile(
    "few", deadline=None, max_examples=20
)  # where only Python's version differs
hypothesis.settings.load_profile("patient")


def _limits() -> dict[tuple[str, str], object]:
    """Return the constants of all modules of limits that are loaded."""
    return {
        (name, constant): value
        for name, module in sys.modules.items()
        if name.startswith("p2p_copy.") and name.endswith(".limits")
        for constant, value in vars(module).items()
        if constant.isupper()
    }


_LIMITS = pytest.StashKey[dict[tuple[str, str], object]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Note the limits before any fixture changes them."""
    item.stash[_LIMITS] = _limits()
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """See that a test leaves the limits as it has found them: else another test fails, and only in some orders."""
    yield
    before, after = item.stash[_LIMITS], _limits()
    assert {key: after[key] for key in before} == before


@pytest.fixture(autouse=True)
def own_memory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test resumes a transfer of another test, or of the user who runs it."""
    monkeypatch.setenv("P2P_COPY_STATE_DIR", str(tmp_path_factory.getbasetemp() / uuid.uuid4().hex))


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Restore signal handlers: a command whose work is done ignores signals, because its process ends then.

    In a test it runs in this process, and the processes that later tests start would ignore them as well.
    """
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_long_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no transfer choose several links by itself: on a busy machine the distance seems long."""
    monkeypatch.setattr(limits, "LINKS_FROM", math.inf)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "trio"
