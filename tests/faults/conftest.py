"""An arena for every file of faults, without TLS and with it, and a table of what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from tests.faults.arena import Arena, arena as running, table
from tests.relay.entry.test_certificates import Files

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def arena(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    """A relay with a transfer; `OPTIONS` and `SHORTENED` of the file of faults say how it is to be."""
    folder = tmp_path_factory.mktemp("arena")
    files = Files(folder, authority) if request.param == "wss" else None
    options = getattr(request.module, "OPTIONS", ())
    with running(
        folder, *options, files=files, shortened=getattr(request.module, "SHORTENED", None)
    ) as ready:
        yield ready


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(table())
    if len(lines) > 1:
        terminalreporter.section("what was measured after each fault")
        for line in lines:
            terminalreporter.write_line(line)
