"""Measures the longest pause of a copy, in which nothing of it arrived."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK_INTERVAL = 0.1
"""Seconds between two measurements."""


class Watch:
    """Measures the bytes below a directory, from the first one on."""

    def __init__(self, folder: Path) -> None:
        self.longest_pause = 0.0
        self._folder = folder
        self._over = threading.Event()

    def measure(self) -> None:
        size, since = 0, time.monotonic()
        while not self._over.wait(CHECK_INTERVAL):
            now, seen = time.monotonic(), _size(self._folder)
            if size:
                self.longest_pause = max(self.longest_pause, now - since)
            if seen != size:
                size, since = seen, now

    def stop(self) -> None:
        self._over.set()


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    watch = Watch(folder)
    thread = threading.Thread(target=watch.measure)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def _size(folder: Path) -> int:
    size = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(top, name)).st_size
            except FileNotFoundError:  # it has just been renamed
                continue
    return size
