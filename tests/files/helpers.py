"""What the tests of `files` share: items as the manifest makes them, and looks at what landed on the disk."""

from __future__ import annotations

import gc
import os
import stat
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2p_copy.files.target.errors import Refused
from p2p_copy.protocol import limits
from p2p_copy.protocol.manifest import Item
from p2p_copy.protocol.messages import Entry, Kind, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.files.target.target import Target

_numbers = count()


def _item(parent: Item | None, entry: Entry) -> Item:
    return Item(next(_numbers), parent, entry)


def _depth(parent: Item | None) -> int:
    return parent.entry.depth + 1 if parent is not None else 0


def a_directory(name: str, parent: Item | None = None, *, mode: int = 0o755, mtime_ns: int = 0) -> Item:
    return _item(parent, Entry(Kind.DIRECTORY, _depth(parent), name, mode, mtime_ns))


def a_file(
    name: str, parent: Item | None = None, *, size: int = 3, mode: int = 0o644, mtime_ns: int = 0
) -> Item:
    item = _item(parent, Entry(Kind.FILE, _depth(parent), name, mode, mtime_ns, size))
    item.digest = bytes(limits.DIGEST)  # as if all of it had been checked
    return item


def a_link(name: str, target: str, parent: Item | None = None, *, mtime_ns: int = 0) -> Item:
    return _item(parent, Entry(Kind.SYMLINK, _depth(parent), name, 0o777, mtime_ns, 0, target))


IN_PIECES = False
"""Whether `deliver` writes as for a large file; set by the fixture `both_ways`."""


def deliver(target: Target, item: Item, data: bytes = b"new") -> None:
    if not IN_PIECES:
        put_small(target, item, data)
        return
    part = target.files.begin(item)
    if data:
        part.write(data)
    target.files.publish(item)


def put_small(target: Target, item: Item, data: bytes = b"new") -> None:
    ((_, refused),) = target.small_files.put([(item, data)])
    if refused is not None:
        raise refused


def refusal(act: Callable[[], object]) -> Reason:
    with pytest.raises(Refused) as refused:
        act()
    return refused.value.reason


def tree(path: Path) -> dict[str, str]:
    """Return each path below and what it is: contents, "link to …", "directory" or "special"."""
    found = {}
    for name in sorted(path.rglob("*")):
        mode = name.lstat().st_mode
        if stat.S_ISLNK(mode):
            what = f"link to {name.readlink()}"
        elif stat.S_ISDIR(mode):
            what = "directory"
        else:
            what = name.read_text() if stat.S_ISREG(mode) else "special"
        found[str(name.relative_to(path))] = what
    return found


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_handles() -> int:
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("this system does not list a process' open files in /proc")
    gc.collect()  # what other tests have left in cycles must not close in between
    return len(os.listdir(handles))


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no more files for the time of a `with`; without POSIX the test is skipped."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)  # all below are taken
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
