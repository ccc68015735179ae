"""Trees for tests: made, looked at, compared."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Seen = dict[str, tuple[str, int, int, bytes | str]]


def snapshot(root: Path) -> Seen:
    """Return kind, mode, mtime and content of everything below `root`, by relative path."""
    seen: Seen = {}
    for folder, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, root)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                seen[relative] = ("link", 0, status.st_mtime_ns, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                seen[relative] = ("directory", mode, status.st_mtime_ns, b"")
            else:
                with open(path, "rb") as file:
                    seen[relative] = ("file", mode, status.st_mtime_ns, file.read())
    return seen


def make_eight_files(root: Path) -> Path:
    """Make a directory of eight files, 2.4 MB in all: several records, and over in an instant; return it."""
    top = root / "tree"
    top.mkdir()
    for number in range(8):
        (top / str(number)).write_bytes(bytes(300_000))
    return top


def make_tree(root: Path) -> Path:
    """Make a directory with everything that a transfer must keep; return it."""
    top = root / "a tree"
    for name in ("empty directory", "d/e/e/p", "ünïcödé", "read only"):
        (top / name).mkdir(parents=True)
    (top / "empty file").touch()
    (top / "d" / "text.txt").write_bytes(b"some words\n" * 50_000)
    (top / "d/e/e/p" / "random").write_bytes(os.urandom(700_001))
    (top / "ünïcödé" / "日本語 ☃.txt").write_text("snow")
    (top / "-leading dash").write_text("-")
    (top / "with 'quotes' & $signs").write_text("x")
    (top / "script").write_text("#!/bin/sh\n")
    (top / "script").chmod(0o755)
    (top / "private").write_text("hush")
    (top / "private").chmod(0o600)
    (top / "everyone").write_text("hello")
    (top / "everyone").chmod(0o644)
    (top / "link to file").symlink_to("script")
    (top / "d" / "link up").symlink_to("../private")
    (top / "link to directory").symlink_to("d/e")
    (top / "dangling").symlink_to("d/nothing there")
    (top / "read only" / "inside").write_text("still written")
    (top / "read only").chmod(0o500)
    for number, (folder, directories, files) in enumerate(os.walk(top, topdown=False)):
        for name in [*files, *directories, "."]:
            when = 1_000_000_000 + number * 86_400 + len(name)
            os.utime(
                os.path.join(folder, name),
                ns=(when * 10**9, when * 10**9 + 123_456_789),
                follow_symlinks=False,
            )
    return top


def leftovers(root: Path) -> list[str]:
    """Return the private names of unfinished files below `root`."""
    return [name for _, _, files in os.walk(root) for name in files if name.startswith(".p2p-copy-")]


def unfinished_size(root: Path) -> int:
    """Return how many bytes unfinished files below `root` have; some are there for a moment only."""
    size = 0
    for folder, _, files in os.walk(root):
        for name in files:
            if name.startswith(".p2p-copy-"):
                with suppress(FileNotFoundError):
                    size += os.stat(os.path.join(folder, name)).st_size
    return size


def names_of_files(root: Path) -> set[frozenset[str]]:
    """Return the names of all files in a tree, in groups: each group is one file."""
    found: dict[int, set[str]] = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            found.setdefault(os.lstat(path).st_ino, set()).add(os.path.relpath(path, root))
    return {frozenset(names) for names in found.values()}
