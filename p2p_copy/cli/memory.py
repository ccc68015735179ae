"""How this process deals with the memory that it frees."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from typing import Final

from p2p_copy.cli import limits

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Parameters of glibc's mallopt(3)."""


def keep_freed_blocks() -> None:
    """Ask the C library to use freed blocks again rather than to return them to the kernel.

    A record is larger than glibc's threshold for blocks that are mapped, zeroed page by page and unmapped each
    time; that costs more than encrypting them. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_MMAP_THRESHOLD, limits.MAP_BLOCKS_FROM)
            mallopt(_TRIM_THRESHOLD, limits.KEEP_FREED)


def collect() -> None:
    """Look for garbage from now on, but not among what is here already."""
    gc.freeze()
    gc.enable()


def collect_seldom() -> None:
    """Look for garbage seldom from now on, and not among what is here already.

    A full collection walks over everything that thousands of clients are made of, and nobody is served meanwhile.
    Our connections leave no cycles behind (`tests/relay/test_garbage.py`); libraries may, on some versions of Python.
    """
    collect()
    gc.set_threshold(*limits.RELAY_COLLECTIONS)
