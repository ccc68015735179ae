"""What libraries get in place of `importlib.metadata`, and that all of it still works for others."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.transport.lazy_metadata import lazy_metadata

if TYPE_CHECKING:
    from types import ModuleType

NAME = "importlib.metadata"


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the module look as if nobody had imported it."""
    monkeypatch.setattr(importlib, "metadata", importlib.metadata)  # is put back at the end
    monkeypatch.delitem(sys.modules, NAME)


def stand_in() -> ModuleType:
    """Return what a thread gets that imports the module in that moment."""
    with lazy_metadata():
        return sys.modules[NAME]


@pytest.mark.usefixtures("unloaded")
def test_the_version_of_trio_loads_nothing() -> None:
    with lazy_metadata():
        from importlib.metadata import version

        assert version("trio") == trio.__version__
    assert NAME not in sys.modules


@pytest.mark.usefixtures("unloaded")
def test_all_else_loads_the_real_module() -> None:
    with lazy_metadata():
        from importlib.metadata import PackageNotFoundError, version

        with pytest.raises(PackageNotFoundError):
            version("no such package")
        assert sys.modules[NAME].PackageNotFoundError is PackageNotFoundError
    assert NAME in sys.modules


@pytest.mark.usefixtures("unloaded")
def test_a_stand_in_that_somebody_has_kept_stays_whole() -> None:
    kept = stand_in()
    import importlib.metadata as real

    assert real is not kept
    assert kept.version("h11") == real.version("h11")
    assert kept.distribution is real.distribution


@pytest.mark.usefixtures("unloaded")
def test_a_thread_may_use_it_as_an_attribute_afterwards() -> None:
    kept = stand_in()
    assert importlib.metadata is kept
    assert importlib.metadata.version("h11")


def test_what_is_loaded_already_stays() -> None:
    with lazy_metadata():
        assert sys.modules[NAME] is importlib.metadata
    assert sys.modules[NAME] is importlib.metadata
