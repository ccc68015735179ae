"""The relay inside a sender, which serves only its own transfer."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy import Rooms
from p2p_copy.api.rooms import MOST_AGREED
from p2p_copy.cli.embedded_relay import embedded_relay
from p2p_copy.errors import CannotListen, RelayRefused
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import keys
from p2p_copy.protocol.rendezvous import LEGACY_PATH, Refusal, Refused, Role, Welcome, room_path
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.server import Relay
from p2p_copy.units import MIB
from tests.contrib.programs import free_port
from tests.relay.clients import answer, hello, relay_running, room
from tests.relay.test_stopping import close_code
from tests.support.processes import PATIENCE, QUICK, Running, receiver
from tests.support.transfers import CODE, Both, copy, receive, running_relay
from tests.support.trees import unfinished_size

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"


async def test_a_port_that_is_taken_gives_way_to_the_next_choice() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        async with embedded_relay([(LOOPBACK, port), (LOOPBACK, 0)], Rooms(CODE)) as (own, seen_as):
            assert own == seen_as
            assert own.startswith(f"ws://{LOOPBACK}:")
            assert own != f"ws://{LOOPBACK}:{port}"


async def test_a_port_that_was_asked_for_by_name_does_not() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(CannotListen):
        async with embedded_relay([taken.getsockname()], Rooms(CODE)):
            raise AssertionError("it cannot have started")


# Which rooms are served


async def test_a_relay_with_rooms_of_its_own_refuses_all_others() -> None:
    rooms = {room("own")}
    async with relay_running(rooms=rooms) as relay:
        await relay.works("own")
        async with relay.client(room_path(room("other"))) as link:
            await link.send(hello(Role.SENDER))
            refused = await answer(link)
            assert isinstance(refused, Refused)
            assert refused.code == Refusal.UNKNOWN_ROOM
            assert await close_code(link) == 1013
        async with relay.client(LEGACY_PATH) as link:
            await link.send(f'{{"type":"hello","code_hash_hex":"{room("own")}","role":"sender"}}')
            assert await close_code(link) == 1013
        assert relay.abuse(Abuse.FOREIGN_ROOM) == 2
        rooms.add(room("other"))
        async with relay.client(room_path(room("other"))) as link:
            await link.send(hello(Role.SENDER))
            assert isinstance(await answer(link), Welcome)


def test_rooms_of_a_transfer_are_not_kept_for_ever() -> None:
    rooms = Rooms(CODE)
    rooms.add("a ticket's")
    for number in range(2 * MOST_AGREED):
        rooms.add(str(number))
        rooms.add("a ticket's")
    assert keys.room_id(CODE.room) in rooms
    assert "a ticket's" in rooms
    assert "0" not in rooms
    assert sum(str(number) in rooms for number in range(2 * MOST_AGREED)) == MOST_AGREED - 1


@pytest.mark.parametrize("links", [1, 3])
async def test_a_transfer_reconnects_in_rooms_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: int
) -> None:
    """No connection of the two sides is refused, whatever is lost on the way."""
    monkeypatch.setattr(peer_limits, "RETURN_AFTER", (0.02, 0.1))
    source = tmp_path / "file"
    data = os.urandom(40 * MIB)
    write(source, data)
    rooms, both = Rooms(CODE), Both()
    marks = [number * MIB for number in (5, 15, 25)]
    server = Relay(RelayConfig(LOOPBACK, 0, rooms=rooms))

    def cut(_files: int, size: int) -> None:
        if marks and size >= marks[0]:
            del marks[0]
            for pairing in list(server.pairings.running.values()):
                pairing.lose(Role.RECEIVER)

    both.sender.on_progress = cut
    common = {"patience": PATIENCE, "links": links}
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        await copy(
            [source],
            tmp_path / "out",
            relay=f"ws://{LOOPBACK}:{bound[0][1]}",
            both=both,
            sending=common | {"on_room": rooms.add},
            receiving=common,
        )
        server.stop(1)
    assert both.reports[0].failures == 0
    assert read(tmp_path / "out" / "file") == data
    assert both.sender.states.count("paired") > 1, "it was cut"
    assert max(both.sender.widths, default=1) == links
    assert server.tally.refused[Refusal.UNKNOWN_ROOM] == 0


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def read(path: Path) -> bytes:
    return path.read_bytes()


# Real processes


def serving(path: Path, port: int = 0) -> tuple[Running, str]:
    """Return a sender with an embedded relay and the code of the tests, and its address."""
    sender = Running("send", str(path), "--serve", f"{LOOPBACK}:{port}", P2P_COPY_CODE=CODE.text)
    assert sender.process.stdout is not None
    match = re.search(r"ws://\S+", sender.process.stdout.readline())
    assert match
    return sender, match[0]


def until_under_way(out: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while unfinished_size(out) < 8 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stranger_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sender, url = serving(tmp_path / "file")
    code, _, errors = receiver(url, tmp_path / "stranger", code="lab8-another passphrase").wait(QUICK)
    assert code == RelayRefused.exit_code
    assert "serves one transfer only" in errors
    assert receiver(url, tmp_path / "out", code=CODE.text).wait(QUICK)[0] == 0
    code, _, said = sender.wait(QUICK)
    assert code == 0
    assert f"Listening for the receiver at {url}.\n" in said


@pytest.mark.slow  # a second process starts, and finds the saved state
def test_a_killed_receiver_resumes(tmp_path: Path) -> None:
    source, out = tmp_path / "file", tmp_path / "out"
    source.write_bytes(os.urandom(1 << 20) * 160)
    sender, url = serving(source)
    first = receiver(url, out, code=CODE.text)
    until_under_way(out)
    first.kill()
    code, _, errors = receiver(url, out, code=CODE.text).wait()
    assert code == 0, errors
    assert sender.wait()[0] == 0
    assert (out / "file").read_bytes() == source.read_bytes()


async def test_a_room_that_is_not_served_yet_may_be_later(tmp_path: Path) -> None:
    """A receiver that has met a sender before then tries its other room, and returns."""
    async with running_relay(rooms=()) as relay:
        with pytest.raises(RelayRefused) as caught:
            await receive(tmp_path / "out", relay=relay, code=CODE)
    assert caught.value.transient


@pytest.mark.slow  # it tries the room that only the former process knew
def test_a_sender_that_is_started_again_meets_its_receiver(tmp_path: Path) -> None:
    """The new relay does not know the room that the receiver tries first."""
    source, out = tmp_path / "file", tmp_path / "out"
    source.write_bytes(os.urandom(1 << 20) * 160)
    port = free_port()
    sender, url = serving(source, port)
    patient = receiver(url, out, code=CODE.text)
    until_under_way(out)
    sender.kill()
    again, _ = serving(source, port)
    code, _, errors = patient.wait()
    assert code == 0, errors
    assert again.wait()[0] == 0
    assert (out / "file").read_bytes() == source.read_bytes()
