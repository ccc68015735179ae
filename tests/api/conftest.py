"""A relay for the tests of a file, and a tree to send."""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from p2p_copy import Code, testing
from p2p_copy.transfer.tree.producer import TreeProducer
from tests.support.processes import QUICK
from tests.support.trees import make_eight_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def relay() -> Iterator[str]:
    with testing.relay() as url:
        yield url


@pytest.fixture
def code() -> Code:
    return Code.generate()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_eight_files(tmp_path)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes a while: what it holds cannot be compressed."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1_000_000) * 64)
    return path


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until this is set, a sender of `large` gives some megabytes only: it is half-way, however fast everything is."""
    opened, given = threading.Event(), Counter[TreeProducer]()
    next_records = TreeProducer.next_records

    def held(self: TreeProducer, most: int = 1) -> list[bytes]:
        if given[self] > 8_000_000:
            opened.wait(QUICK)
        records = next_records(self, most)
        given[self] += sum(map(len, records))
        return records

    monkeypatch.setattr(TreeProducer, "next_records", held)
    yield opened
    opened.set()
