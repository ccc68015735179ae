"""Tries whether a directory can be written: how fast, and what space it has. Nothing stays behind."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from p2p_copy.files import system
from p2p_copy.files.temporary import temporary_name
from p2p_copy.units import MIB
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Trial(NamedTuple):
    """What came of it.

    Attributes:
        place: the directory that was tried: the one that was asked about, or where it would be made.
        seconds: how long the bytes took, until the disk had them.
        free: bytes that are free for this user; None if the system does not say.

    """

    place: str
    seconds: float
    free: int | None


def try_writing(directory: str, size: int) -> Trial:
    """Write `size` random bytes into a new file and flush it, then remove it. May wait for a disk.

    A directory that does not exist is not made: the nearest one above it is tried.

    Raises:
        OSError: it cannot be written there.

    """
    place = _existing(directory)
    path = os.path.join(place, temporary_name())
    piece = os.urandom(min(size, MIB))
    fd = os.open(path, system.CREATE, 0o600)
    try:
        began = time.perf_counter()
        for rest in _parts(size, piece):
            while rest:
                rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
        seconds = time.perf_counter() - began
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(path)
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = None
    return Trial(place, seconds, free)


def _parts(size: int, piece: bytes) -> Iterator[memoryview]:
    while size > 0:
        yield memoryview(piece)[:size]
        size -= len(piece)


def _existing(directory: str) -> str:
    """Return a directory, or the nearest one above it that exists."""
    path = os.path.abspath(directory)
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
