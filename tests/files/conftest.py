"""Both ways to reach directories, and an ordinary user's directory even where root runs the tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files import system
from tests.files import helpers

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = 65534


@pytest.fixture(params=["handles", "handles, temporary names", "handles, files in pieces", "paths"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with directory handles, and again as on systems that have none.

    With handles there are three ways to write a small file: all at once, without a name or under a temporary one, and
    as if it were a large one.
    """
    ways, _, how = str(request.param).partition(", ")
    monkeypatch.setattr(helpers, "IN_PIECES", how == "files in pieces")
    if how == "temporary names":
        monkeypatch.setattr(system, "CREATE_UNNAMED", 0)
    if ways == "paths":
        monkeypatch.setattr(system, "HANDLES", False)
    elif not system.HANDLES:
        pytest.skip("this system has no directory handles")
    return ways


@pytest.fixture
def commoners_path() -> Iterator[Path]:
    """A directory of a user whom permissions bind, for a test that runs as that user."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, _NOBODY, -1)
        os.seteuid(_NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
