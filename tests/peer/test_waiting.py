"""A side that waits dials again now and then, so that the two meet at the relay to which the address leads now."""

from __future__ import annotations

import itertools
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
import trio
from trio.testing import MockClock

from p2p_copy.errors import PeerTimeout, RelayUnreachable
from p2p_copy.observer import Observer, Report
from p2p_copy.peer import limits, place, waiting
from p2p_copy.peer.place import Connection, Place
from p2p_copy.protocol import keys, limits as protocol_limits, rendezvous
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.rendezvous import CloseCode, Hello, Paired, Role, Welcome, room_path
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay
from p2p_copy.transport.address import RelayAddress, parse_address
from p2p_copy.transport.codec import Piece
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from tests.relay.clients import Relay as At, answer, hello
from tests.support.links import linked, serving
from tests.support.numbers import home_of
from tests.support.transfers import CODE, Told, receive, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from p2p_copy.transport.tcp import TCPStream

PATIENT = 40.0
"""Seconds: far less than a side waits, far more than a busy machine needs."""

SIZE = 100_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients dial again several times a second, and relays let them."""
    for name in ("REDIAL_AFTER", "LEAST_REDIAL", "REDIAL_SETTLED"):
        monkeypatch.setattr(home_of(name), name, 0.2)
    monkeypatch.setattr(limits, "RETURN_AFTER", (0.02, 0.1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    return tmp_path / "file"


class Balancer:
    """Takes connections at one address, and passes each on to the next of `ports`.

    Attributes:
        address: where it listens.
        came: how many connections there were.

    """

    def __init__(self, address: RelayAddress) -> None:
        self.address = str(address)
        self.came = 0
        self.ports: Iterator[int | None] = itertools.repeat(None)

    def lead_to(self, *ports: int | None) -> None:
        """Send the next connections to these, in turn; None is a machine that takes connections and says nothing."""
        self.ports = itertools.cycle(ports)

    async def handle(self, client: TCPStream) -> None:
        self.came += 1
        port = next(self.ports)
        if port is None:
            await trio.sleep_forever()
        try:
            relay = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        async with relay, trio.open_nursery() as nursery:

            async def pass_on(source: trio.abc.ReceiveStream, target: trio.abc.SendStream) -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    while data := await source.receive_some():
                        await target.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(pass_on, client, relay)
            nursery.start_soon(pass_on, relay, client)


@asynccontextmanager
async def balanced(count: int = 2) -> AsyncIterator[tuple[Balancer, list[int]]]:
    """Run some relays with a balancer before them, which leads to the first one; yield it and the relays' ports."""
    ports = []

    async def handle(client: TCPStream) -> None:
        await it.handle(client)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            bound = await nursery.start(Relay(RelayConfig("127.0.0.1", 0)).run)
            ports.append(bound[0][1])
        async with serving(handle) as address:
            it = Balancer(address)
            it.lead_to(ports[0])
            with trio.fail_after(PATIENT):
                yield it, ports
        nursery.cancel_scope.cancel()


class Side:
    """One side of a transfer. It waits for an hour, and once it is lost it does not come back."""

    def __init__(
        self, nursery: trio.Nursery, role: Role, code: Code, relay: str, path: Path, **options: Any
    ) -> None:
        self.told = Told()
        self.report: Report | None = None
        self._role, self._path = role, path
        self._options = {"relay": relay, "code": code, "patience": 0, "observer": self.told, **options}
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        if self._role is Role.SENDER:
            self.report = await send([str(self._path)], **self._options)
        else:
            self.report = await receive(str(self._path), **self._options)

    async def reaches(self, state: str = "waiting") -> None:
        while state not in self.told.states:  # noqa: ASYNC110
            await trio.sleep(0.005)


def codes(count: int) -> list[Code]:
    return [Code(f"lab{number}", "a long passphrase") for number in range(count)]


async def test_all_pairs_meet_that_a_balancer_has_led_to_two_relays(file: Path, tmp_path: Path) -> None:
    """Senders came while the second relay was down; now it is back, and their receivers are led there."""
    async with balanced() as (balancer, ports):
        async with trio.open_nursery() as nursery:
            senders = [Side(nursery, Role.SENDER, code, balancer.address, file) for code in codes(6)]
            for side in senders:
                await side.reaches()
            balancer.lead_to(ports[1])
            for number, code in enumerate(codes(6)):
                Side(nursery, Role.RECEIVER, code, balancer.address, tmp_path / f"out{number}")
        for number, side in enumerate(senders):
            assert await trio.Path(tmp_path / f"out{number}" / "file").read_bytes() == bytes(SIZE)
            assert side.told.states.count("waiting") == 1, "silently"
            assert not side.told.notices


@pytest.mark.parametrize("first", Role)
async def test_two_sides_that_wait_at_two_relays_meet(file: Path, tmp_path: Path, first: Role) -> None:
    paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}
    second = Role.RECEIVER if first is Role.SENDER else Role.SENDER
    async with balanced() as (balancer, ports):
        async with trio.open_nursery() as nursery:
            await Side(nursery, first, CODE, balancer.address, paths[first]).reaches()
            await Side(nursery, second, CODE, f"ws://127.0.0.1:{ports[1]}", paths[second]).reaches()
            balancer.lead_to(ports[1])
        assert (tmp_path / "out" / "file").exists()


async def test_pairs_meet_behind_a_balancer_that_knows_no_rooms(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides wait here, then there, dial again at any moment, and are paired at two relays at once now and then."""
    for name in ("LEAST_REDIAL", "REDIAL_AFTER", "REDIAL_SETTLED"):
        monkeypatch.setattr(home_of(name), name, 0.1)
    async with balanced() as (balancer, ports):
        balancer.lead_to(*ports, ports[0], *reversed(ports))
        async with trio.open_nursery() as nursery:
            for number, code in enumerate(codes(4)):
                Side(nursery, Role.SENDER, code, balancer.address, file)
                Side(nursery, Role.RECEIVER, code, balancer.address, tmp_path / f"out{number}")
        for number in range(4):
            assert (tmp_path / f"out{number}" / "file").exists()


@pytest.mark.slow  # it takes many pairings to meet every moment
async def test_however_it_dials_again_no_pairing_is_lost(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one relay, which replaces the old connection by the new one all the time, and pairs at any moment."""
    monkeypatch.setattr(protocol_limits, "LEAST_REDIAL", 0.004)
    monkeypatch.setattr(protocol_limits, "REDIAL_AFTER", 0.004)
    chance = random.Random(1)
    async with balanced(1) as (balancer, _):
        for number in range(20):
            out = tmp_path / f"out{number}"
            async with trio.open_nursery() as nursery:
                sender = Side(nursery, Role.SENDER, CODE, balancer.address, file)
                await sender.reaches()
                await trio.sleep(0.05 * chance.random())
                Side(nursery, Role.RECEIVER, CODE, balancer.address, out)
            assert (out / "file").exists()
            assert sender.told.states.count("waiting") == 1


async def test_a_pairing_that_comes_while_a_new_connection_is_under_way_is_taken(
    file: Path, tmp_path: Path
) -> None:
    async with balanced() as (balancer, ports):
        async with trio.open_nursery() as nursery:
            side = Side(nursery, Role.SENDER, CODE, balancer.address, file)
            await side.reaches()
            before = balancer.came
            balancer.lead_to(None)
            while balancer.came == before:  # noqa: ASYNC110
                await trio.sleep(0.005)
            Side(nursery, Role.RECEIVER, CODE, f"ws://127.0.0.1:{ports[0]}", tmp_path / "out")
        assert side.report is not None


async def test_a_new_connection_that_fails_changes_nothing(file: Path, tmp_path: Path) -> None:
    async with balanced() as (balancer, ports):
        async with trio.open_nursery() as nursery:
            side = Side(nursery, Role.SENDER, CODE, balancer.address, file)
            await side.reaches()
            before = balancer.came
            balancer.lead_to(1)  # no relay is there
            while balancer.came < before + 3:  # noqa: ASYNC110
                await trio.sleep(0.005)
            Side(nursery, Role.RECEIVER, CODE, f"ws://127.0.0.1:{ports[0]}", tmp_path / "out")
        assert side.told.states.count("connecting") == 1
        assert not side.told.notices


async def test_a_place_that_is_left_in_the_instant_in_which_the_other_side_comes_just_ends() -> None:
    async with linked() as (link, _):

        class Left(Place):
            async def _paired(self, nursery: trio.Nursery, tell: Callable[[], object]) -> Connection:
                connection = Connection()
                connection.link = link
                await link.aclose()  # as the connection's own task does once the place is left
                self.leave()
                return connection

        place = Left(parse_address("ws://127.0.0.1:1"), Hello(Role.SENDER, "tests"))
        async with trio.open_nursery() as nursery:
            place.take(nursery, lambda: None, hears_first=True)
        assert (place.ready, place.end) == (None, None)


async def test_a_new_connection_that_finds_its_room_taken_changes_nothing(file: Path, tmp_path: Path) -> None:
    async with balanced() as (balancer, ports), trio.open_nursery() as nursery:
        side = Side(nursery, Role.SENDER, CODE, balancer.address, file)
        await side.reaches()
        async with At(ports[1], None).client(room_path(keys.room_id(CODE.room))) as squatter:
            await squatter.send(hello(Role.SENDER, "f" * 32))
            assert isinstance(await answer(squatter), Welcome)
            nursery.start_soon(_listen, squatter)
            before = balancer.came
            balancer.lead_to(ports[1])
            while balancer.came < before + 3:  # noqa: ASYNC110
                await trio.sleep(0.005)
            Side(nursery, Role.RECEIVER, CODE, f"ws://127.0.0.1:{ports[0]}", tmp_path / "out")
            await side.reaches("paired")
            squatter.abort()


async def _listen(link: Link) -> None:
    with suppress(LinkBroken, anyio.ClosedResourceError):
        await link.receive()


async def test_a_client_that_leaves_without_a_word_does_not_end_the_wait(file: Path, tmp_path: Path) -> None:
    """The other side was paired at two relays at once, and goes on with the other pairing."""
    async with balanced(1) as (balancer, ports):
        async with trio.open_nursery() as nursery:
            side = Side(nursery, Role.SENDER, CODE, balancer.address, file)
            await side.reaches()
            for code in (1000, CloseCode.GIVEN_UP):
                async with At(ports[0], None).client(room_path(keys.room_id(CODE.room))) as other:
                    await other.send(hello(Role.RECEIVER))
                    while await answer(other) != Paired():
                        pass
                    await other.close(code)
            Side(nursery, Role.RECEIVER, CODE, balancer.address, tmp_path / "out")
        assert side.told.states.count("waiting") == 1
        assert side.report is not None


async def test_the_last_sentence_names_the_whole_wait(file: Path) -> None:
    async with balanced(1) as (balancer, _):
        with pytest.raises(PeerTimeout, match=r"within 1 s"):
            await send([str(file)], relay=balancer.address, code=CODE, wait=1.5, patience=0)
        assert balancer.came > 2


async def test_a_relay_that_ends_the_old_connection_first_is_waited_for(file: Path) -> None:
    """Its close frame on the old connection may come before the welcome on the new one."""
    links: list[Link] = []
    ended = trio.Event()

    async def handle(stream: TCPStream) -> None:
        with suppress(LinkBroken, anyio.ClosedResourceError):
            async with accept(stream, max_message=protocol_limits.MAX_RECORD) as (path, link):
                said = rendezvous.decode_hello(await link.receive(), path)
                assert isinstance(said, Hello)
                links.append(link)
                if len(links) > 1:
                    assert rendezvous.STILL_WAITING in said.features
                    await links[0].close(CloseCode.REPLACED)
                    await trio.sleep(0.1)
                await link.send(rendezvous.encode(Welcome("p", protocol_limits.MAX_RECORD, 3600)))
                if len(links) > 1:
                    ended.set()
                await link.receive()

    async with serving(handle) as address, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENT):
            Side(nursery, Role.SENDER, CODE, str(address), file)
            await ended.wait()
            await trio.sleep(0.2)  # it would have ended by now
            nursery.cancel_scope.cancel()


async def test_what_a_relay_says_is_shown_even_if_the_other_side_is_there_already(file: Path) -> None:
    met = trio.Event()

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=protocol_limits.MAX_RECORD) as (_, link):
            await link.receive()
            welcome = Welcome("p", protocol_limits.MAX_RECORD, 3600, rate=10**6, notice="Mind the gap.")
            await link.send_pieces([Piece.whole(rendezvous.encode(each)) for each in (welcome, Paired())])
            met.set()
            await trio.sleep_forever()

    async with serving(handle) as address, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENT):
            side = Side(nursery, Role.RECEIVER, CODE, str(address), file.parent / "out")
            await met.wait()
            while len(side.told.notices) < 2:  # noqa: ASYNC110
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    first, terms = side.told.notices
    assert first == "The relay says: Mind the gap."
    assert terms.startswith("Relay limit: at most")
    assert side.told.states[:2] == ["connecting", "waiting"]


async def test_a_side_whose_only_connection_was_replaced_connects_again(file: Path) -> None:
    """The hello of an older connection of its own came late."""
    came = 0
    again = trio.Event()

    async def handle(stream: TCPStream) -> None:
        nonlocal came
        async with accept(stream, max_message=protocol_limits.MAX_RECORD) as (_, link):
            await link.receive()
            came += 1
            await link.send(rendezvous.encode(Welcome("p", protocol_limits.MAX_RECORD, 3600, again=3600)))
            if came == 1:
                await link.close(CloseCode.REPLACED)
            else:
                again.set()
                await trio.sleep_forever()

    async with serving(handle) as address, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENT):
            side = Side(nursery, Role.SENDER, CODE, str(address), file)
            await again.wait()
            nursery.cancel_scope.cancel()
    assert side.told.states.count("waiting") == 1


async def test_a_side_that_is_stopped_in_the_moment_of_pairing_ends(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that waits is cancelled when the one that reads from the relay has received `Paired` already."""
    scope = trio.CancelScope()
    hear = place._hear_relay

    async def hear_and_stop(link: Link) -> Welcome | Paired:
        said = await hear(link)
        if isinstance(said, Paired):
            scope.cancel()
        return said

    monkeypatch.setattr(place, "_hear_relay", hear_and_stop)
    async with balanced(1) as (balancer, ports):
        with trio.fail_after(PATIENT):
            async with At(ports[0], None).client(room_path(keys.room_id(CODE.room))) as other:
                await other.send(hello(Role.RECEIVER))
                assert isinstance(await answer(other), Welcome)
                with scope:
                    await send([str(file)], relay=balancer.address, code=CODE, patience=0)
    assert scope.cancelled_caught


# How often, in virtual time


class Deaf:
    """A link to a relay at which the other side does not come."""

    sets_aside: object = None

    def __init__(self, again: int | None) -> None:
        self._said = [Welcome("p", protocol_limits.MAX_RECORD, 10**6, again=again)]

    async def send(self, message: str) -> None:
        pass

    async def receive(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self._said:
            await trio.sleep_forever()
        return rendezvous.encode(self._said.pop())

    def abort(self) -> None:
        pass


@pytest.mark.parametrize(("again", "seconds"), [(None, 60), (60, 60), (150, 150), (0, 10)])
@pytest.mark.parametrize("works", [True, False])
def test_it_dials_as_often_as_the_relay_says(
    monkeypatch: pytest.MonkeyPatch, again: int | None, seconds: int, works: bool
) -> None:
    monkeypatch.setattr(protocol_limits, "REDIAL_AFTER", 60.0)
    monkeypatch.setattr(protocol_limits, "LEAST_REDIAL", 10.0)
    monkeypatch.setattr(limits, "REDIAL_SETTLED", 5.0)
    came: list[float] = []
    there = 0

    @asynccontextmanager
    async def connect(*_: object, **__: object) -> AsyncIterator[Link]:
        nonlocal there
        came.append(trio.current_time())
        await trio.sleep(1)
        if len(came) > 1 and not works:
            raise RelayUnreachable
        there += 1
        assert there <= 2
        try:
            yield cast("Link", Deaf(again))
        finally:
            there -= 1

    monkeypatch.setattr(place, "connect", connect)

    async def test() -> None:
        wait = waiting.Wait(
            [Place(RelayAddress(False, "relay", 1), Hello(Role.SENDER, "0" * 64))], 3600, Observer()
        )
        with pytest.raises(PeerTimeout, match="within 1 h"):
            async with wait.joined():
                raise AssertionError("the other side does not come")
        assert trio.current_time() - came[0] == pytest.approx(3601)

    trio.run(test, clock=MockClock(autojump_threshold=0))
    assert there == 0
    pauses = [later - sooner for sooner, later in itertools.pairwise(came)]
    assert all(seconds / 2 - 1 <= pause <= seconds * 1.5 + 7 for pause in pauses)
    assert len(set(pauses)) > len(pauses) / 2, "not all clients at the same moment"
