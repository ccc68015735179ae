"""Writes which modules and names of the standard library Linux has and another system lacks.

`python -m tests.platforms` writes `win32.txt` and `darwin.txt` beside this file. It asks the type checker, whose stubs
say what exists where, so it needs the group `typing`. A name counts that the system lacks on any Python we support.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mypy import build
from mypy.modulefinder import BuildSource
from mypy.nodes import TypeInfo
from mypy.options import Options

MODULES: Final = ("fcntl", "grp", "mmap", "os", "pty", "pwd", "resource", "select", "signal", "socket", "syslog",
                  "termios", "time", "tty")  # fmt: skip

PYTHONS: Final = ((3, 11), (3, 13))


def names(platform: str, python: tuple[int, int]) -> set[str]:
    """Return the public names of the modules on a platform, and of sockets: `os.fork`, `socket.socket.sendmsg`."""
    options = Options()
    options.platform, options.python_version, options.incremental = platform, python, False
    source = "".join(f"import {module}\n" for module in (*MODULES, "_socket"))
    files = build.build([BuildSource("names.py", "names", source)], options).files
    found = {
        f"{module}.{name}"
        for module in MODULES
        if module in files
        for name, symbol in files[module].names.items()
        if symbol.module_public and not name.startswith("_")
    }
    for module in ("socket", "_socket"):
        kind = files[module].names["socket"].node
        assert isinstance(kind, TypeInfo)
        found |= {f"socket.socket.{name}" for name in kind.names}
    return found


def main() -> None:
    for platform in ("win32", "darwin"):
        lacks: set[str] = set()
        for python in PYTHONS:
            here, there = names("linux", python), names(platform, python)
            missing = {
                module for module in MODULES if not any(name.startswith(f"{module}.") for name in there)
            }
            lacks |= missing | {name for name in here - there if name.partition(".")[0] not in missing}
        path = Path(__file__).with_name(f"{platform}.txt")
        path.write_text("".join(f"{name}\n" for name in sorted(lacks)), "utf-8")


if __name__ == "__main__":
    main()
