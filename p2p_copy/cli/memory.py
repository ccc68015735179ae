"""Tunes how this process reuses freed memory and collects garbage."""

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
    """Make the C library reuse freed blocks instead of returning them to the kernel.

    A record is larger than glibc's threshold for blocks that are mapped, zeroed page by page and unmapped each time,
    which costs more than encrypting them. Other C libraries are left as they are.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_MMAP_THRESHOLD, limits.MAP_BLOCKS_FROM)
            mallopt(_TRIM_THRESHOLD, limits.KEEP_FREED)


def collect() -> None:
    """Turn the garbage collector on; it skips all objects that exist already."""
    gc.freeze()
    gc.enable()


def collect_seldom() -> None:
    """Turn the garbage collector on with high thresholds; it skips all objects that exist already.

    A full collection visits every object of thousands of clients, and no client is served meanwhile. Our connections
    leave no cycles (`tests/relay/test_garbage.py`); libraries may, on some versions of Python.
    """
    collect()
    gc.set_threshold(*limits.RELAY_COLLECTIONS)
