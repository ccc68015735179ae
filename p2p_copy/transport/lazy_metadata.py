"""Lets the libraries for WebSocket be imported without `importlib.metadata`, a twentieth of a short command's time.

`trio_websocket` asks it for the version of Trio, and `websockets` imports it without need. It loads the parsers of
e-mail, CSV and ZIP. So both get a stand-in, which loads the real module for all but that version. What another thread
imports in that moment works too: a stand-in can do all that the real module can.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = "importlib.metadata"


class _StandIn(ModuleType):
    """What is taken for `importlib.metadata`."""

    def __init__(self) -> None:
        super().__init__(_NAME)
        self.__path__ = [
            f"{each}/metadata" for each in importlib.__path__
        ]  # every import of a name looks at it

    def version(self, distribution_name: str) -> str:
        """Return the version of an installed package."""
        if distribution_name == "trio":
            return trio.__version__
        found: str = self._real().version(distribution_name)
        return found

    def __getattr__(self, name: str) -> Any:
        """Return what the real module has by this name."""
        return getattr(self._real(), name)

    def _real(self) -> ModuleType:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return importlib.import_module(_NAME)


@contextmanager
def lazy_metadata() -> Iterator[None]:
    """Import what is imported in this block without the real `importlib.metadata`, unless that is loaded already."""
    if _NAME in sys.modules:
        yield
        return
    # The attribute stays until the real module replaces it: another thread may have imported it, and not used it yet.
    stand_in = sys.modules[_NAME] = importlib.metadata = _StandIn()
    try:
        yield
    finally:
        if sys.modules.get(_NAME) is stand_in:
            del sys.modules[_NAME]
