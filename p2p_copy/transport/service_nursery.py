"""A nursery for tasks that serve its body: they end with it, and its exceptions leave unchanged.

A plain nursery waits for its tasks and puts even a single exception of the body into a group. Code that offers
something with tasks behind it (`async with connect(...) as link`) wants neither: the tasks are not the caller's
affair, and the caller's own exception should leave as the caller raised it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def service_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the body ends. An exception of the body is raised
    unchanged.

    An exception of a task cancels the body and is raised in a group, together with the body's own if there is one. If a
    task shields itself from cancellation, the body must tell it to end.
    """
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                if _is_cancellation(error):
                    raise  # the nursery knows whether it has caused this cancellation
                failure = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if failure is None:
            raise
        if errors := group.split(trio.Cancelled)[1]:
            raise BaseExceptionGroup(
                "Exceptions of a body and of tasks that serve it", [failure, *errors.exceptions]
            ) from None
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or it would be part of its own traceback, a cycle


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)
