"""A file whose disk does not answer: opening it blocks, uninterruptibly, until the test releases it."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLASS_CONTENT, _CLOEXEC = 0x4, 0x1
_MARK_ADD = 0x1
_OPEN_PERM = 0x10000
_AT_FDCWD = -100
"""Of Linux' fanotify_init(2) and fanotify_mark(2)."""


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Block every open of this file until the body ends, as the kernel asks this process for a permission in vain.

    That is the kernel's own wait, as for a network mount whose server is gone: no signal but SIGKILL ends it.
    """
    if sys.platform != "linux":
        pytest.skip("only Linux lets a test hold the opening of a file")
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.fanotify_init(_CLASS_CONTENT | _CLOEXEC, os.O_RDONLY)
    if descriptor < 0:
        pytest.skip(f"opening a file cannot be held here: {os.strerror(ctypes.get_errno())}")
    try:
        mask = ctypes.c_uint64(_OPEN_PERM)
        if libc.fanotify_mark(descriptor, _MARK_ADD, mask, _AT_FDCWD, os.fsencode(path)):
            pytest.skip(f"opening this file cannot be held here: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        os.close(descriptor)
