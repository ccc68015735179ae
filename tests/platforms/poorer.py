"""Puts another system's standard library into this process: the modules of this one, without what that one lacks.

The libraries that we use have their own code for each system, which cannot run here. They are imported before and keep
the modules of this system. The package is imported afterwards: it finds the poorer ones, and chooses as it would there.
"""

from __future__ import annotations

import importlib
import pkgutil
import socket
import sys
from fcntl import LOCK_EX, LOCK_NB, lockf
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

LIBRARIES = ("anyio", "anyio._backends._asyncio", "anyio._backends._trio", "asyncio", "blake3", "cryptography.x509",
             "cyclopts", "ctypes.util", "h11", "logging.handlers", "multiprocessing", "pathspec", "prometheus_client",
             "pytest", "shutil", "sqlite3", "ssl", "subprocess", "tempfile", "trio", "trio_websocket", "uuid",
             "websockets", "wsproto")  # fmt: skip
"""What our modules import, and what those import only when it is used."""


def make_poorer(platform: str) -> None:
    """Let modules that are imported from now on find what `platform` has, and that this is `platform`."""
    for library in LIBRARIES:
        importlib.import_module(library)
    lacks: dict[str, set[str]] = {}
    for name in Path(__file__).with_name(f"{platform}.txt").read_text("utf-8").split():
        module, _, attribute = name.rpartition(".")
        lacks.setdefault(module, set()).add(attribute)
    for module in lacks.pop("", ()):
        sys.modules[module] = None  # type: ignore[assignment]  # this is how an import is made to fail
    methods = lacks.pop("socket.socket")
    for module, names in lacks.items():
        _replace(module, without=names)
    _replace("socket", socket=type("socket", (socket.socket,), dict.fromkeys(methods, property(_lack))))
    _replace("sys", platform=platform)
    if platform == "win32":
        sets = "supports_dir_fd", "supports_fd", "supports_follow_symlinks"
        _replace("subprocess", CREATE_NEW_PROCESS_GROUP=0x200)
        _replace("os", O_BINARY=0, **{name: frozenset() for name in sets})  # Linux has no other files
        sys.modules["msvcrt"] = ModuleType("msvcrt")
        _replace("msvcrt", LK_NBLCK=LOCK_EX | LOCK_NB, locking=lockf, setmode=lambda _, mode: mode)


def import_everything() -> list[str]:
    """Import all modules of the package, and return their names."""
    import p2p_copy

    found = [module.name for module in pkgutil.walk_packages(p2p_copy.__path__, "p2p_copy.")]
    for name in found:
        if name != "p2p_copy.__main__":
            importlib.import_module(name)
    return found


def _replace(module: str, *, without: Container[str] = (), **instead: object) -> None:
    """Let `import` find a copy of a module that lacks some names and has others instead."""
    copy = ModuleType(module)
    whole = importlib.import_module(module)
    vars(copy).update({name: value for name, value in vars(whole).items() if name not in without})
    vars(copy).update(instead)
    sys.modules[module] = copy


def _lack(_: object) -> object:
    raise AttributeError
