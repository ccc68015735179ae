"""trio-websocket: which versions hold, and what the adapter relies on beyond the public API."""

from __future__ import annotations

import gc
import importlib.metadata
import inspect
import re
import weakref

import pytest
import trio
import trio.testing
import trio_websocket
from trio.testing import memory_stream_pair

from p2p_copy.transport.codec import Codec, Piece
from p2p_copy.transport.websocket import WebSocket
from tests.support.websocket import BINARY, RawClient, frame

SOURCE = inspect.getsource(trio_websocket.WebSocketConnection)


def test_the_version_is_one_that_the_adapter_was_written_for() -> None:
    """pyproject.toml allows 0.12.2 and later ones before 0.13: widen both when this file holds for another one."""
    version = tuple(int(part) for part in importlib.metadata.version("trio-websocket").split(".")[:3])
    assert (0, 12, 2) <= version < (0, 13)
    (requirement,) = (
        each for each in importlib.metadata.requires("p2p-copy") or () if each.startswith("trio-websocket")
    )
    assert set(requirement.removeprefix("trio-websocket").split(",")) == {">=0.12.2", "<0.13"}


@pytest.mark.parametrize(
    ("attribute", "used"),
    [
        ("_stream", {"receive_some", "send_all", "aclose"}),
        ("_wsproto", {"client", "state", "send", "receive_data", "events"}),
    ],
)
def test_the_library_uses_nothing_else_of_what_it_is_given(attribute: str, used: set[str]) -> None:
    assert set(re.findall(rf"self\.{attribute}\.(\w+)", SOURCE)) == used


def test_the_library_s_own_wrappers_use_the_three_private_names_that_the_adapter_uses() -> None:
    wrappers = {
        trio_websocket.wrap_client_stream: ("._reader_task", "._open_handshake.wait"),
        trio_websocket.wrap_server_stream: ("._reader_task", "._get_request"),
    }
    for wrapper, names in wrappers.items():
        source = inspect.getsource(wrapper)  # type: ignore[arg-type]
        assert all(f"connection{name}" in source for name in names)


async def test_the_library_asks_for_bytes_when_all_before_is_answered_and_keeps_none() -> None:
    """Rule 1, and why the library gets bytes in a list."""
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)
    codec = Codec(is_client=False, max_message=1_000_000)
    heard: list[Piece] = []
    codec.put = heard.append
    given: list[weakref.ref[bytearray]] = []
    unanswered: list[int] = []

    class Data(bytearray):
        """Bytes that can be watched."""

    async def read() -> bytearray:
        codec.put_behind()
        unanswered.append(len(codec._events))
        data = Data(await ours.receive_some())
        given.append(weakref.ref(data))
        return data

    websocket = WebSocket(codec, read, ours.send_all)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(websocket.run)
        nursery.start_soon(client.upgrade, "/path")
        assert await websocket.accept_request() == "/path"
        await client.raw(frame(9, b"ping") + frame(BINARY, bytes(100_000)))
        await trio.testing.wait_all_tasks_blocked()
        assert len(heard.pop().data) == 100_000
        gc.collect()
        assert len(given) == 2
        assert not any(data() for data in given), "kept by the library"
        nursery.cancel_scope.cancel()
    assert not any(unanswered)
