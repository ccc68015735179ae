"""Tasks that serve a body: which ends which, and which exceptions leave."""

from __future__ import annotations

import gc
import traceback
import weakref
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from p2p_copy.transport.service_nursery import service_nursery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Trouble(Exception):
    pass


async def fail(error: BaseException) -> None:
    raise error


async def fail_when_cancelled(error: Exception) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def serve(body: Callable[[], Awaitable[None]], *tasks: Callable[[], Awaitable[None]]) -> None:
    """Run `body` with these tasks and two more that wait until they are cancelled."""
    async with service_nursery() as nursery:
        for task in (*tasks, trio.sleep_forever, trio.sleep_forever):
            nursery.start_soon(task)
        await body()


async def test_tasks_end_when_the_body_does() -> None:
    ended: list[str] = []

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    await serve(trio.testing.wait_all_tasks_blocked, task)
    assert ended == ["task"]


@pytest.mark.parametrize("error", [Trouble("mine"), ExceptionGroup("mine", [Trouble()]), KeyboardInterrupt()])
async def test_an_exception_of_the_body_leaves_as_it_is(error: BaseException) -> None:
    error.__cause__ = cause = ValueError()
    with pytest.raises(type(error)) as caught:
        await serve(partial(fail, error))
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames == ["test_an_exception_of_the_body_leaves_as_it_is", "serve", "fail"]


async def test_an_exception_that_was_handled_is_gone_without_the_garbage_collector() -> None:
    gone: list[weakref.ref[Trouble]] = []
    gc.disable()
    try:
        try:
            async with service_nursery():
                error = Trouble()
                gone.append(weakref.ref(error))
                raise error
        except Trouble:
            del error
        assert gone[0]() is None
    finally:
        gc.enable()


async def test_an_exception_of_a_task_cancels_the_body_and_leaves_in_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await serve(trio.sleep_forever, partial(fail, Trouble("task")))
    assert [str(each) for each in caught.value.exceptions] == ["task"]


async def test_exceptions_of_both_leave_in_one_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await serve(partial(fail_when_cancelled, Trouble("body")), partial(fail, Trouble("task")))
    assert [str(each) for each in caught.value.exceptions] == ["body", "task"]


async def test_a_cancellation_from_outside_ends_body_and_tasks() -> None:
    with trio.move_on_after(0.01) as scope:
        await serve(trio.sleep_forever)
    assert scope.cancelled_caught


async def test_an_exception_of_a_body_that_is_cancelled_from_outside_is_not_lost() -> None:
    error = Trouble()
    with trio.move_on_after(0.01), pytest.raises(Trouble) as caught:
        await serve(partial(fail_when_cancelled, error))
    assert caught.value is error


async def test_a_cancelled_nursery_ends_its_body_quietly() -> None:
    async with service_nursery() as nursery:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
