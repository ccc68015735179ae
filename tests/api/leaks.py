"""Counts what a program holds: threads, descriptors, tasks of the event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN = 2.0
"""Seconds in which a thread that has done its work is gone, on a busy machine."""


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that there is no more of anything after the block than before it."""
    before = _held()
    yield
    deadline = time.monotonic() + WITHIN
    while (more := _more(before, _held())) and time.monotonic() < deadline:
        gc.collect()  # before each look would take longer than most tests
        time.sleep(0.01)
    assert not more, more


def _more(before: dict[str, set[str]], now: dict[str, set[str]]) -> dict[str, set[str]]:
    return {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}


def _held() -> dict[str, set[str]]:
    return {
        # Trio keeps a worker without work for ten seconds.
        "threads": {f"{each.name} {each.ident}" for each in threading.enumerate() if "Trio" not in each.name},
        "descriptors": _descriptors(),
        "tasks": _tasks(),
    }


def _descriptors() -> set[str]:
    if sys.platform != "linux":
        return set()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue  # that of the list itself
    return found


def _tasks() -> set[str]:
    """Return the tasks of this event loop but the current one, and for Trio but those of the system."""
    if trio.lowlevel.in_trio_task():
        main = here = trio.lowlevel.current_task()
        while main.parent_nursery is not None and main.parent_nursery.parent_task.parent_nursery is not None:
            main = main.parent_nursery.parent_task
        found, waiting = set(), [main]
        while waiting:
            task = waiting.pop()
            found.add(f"{task.name} {id(task)}")
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        return found - {f"{here.name} {id(here)}"}
    try:
        return {
            f"{task.get_name()} {id(task)}"
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task()
        }
    except RuntimeError:
        return set()  # no event loop
