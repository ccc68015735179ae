"""Two sides with several relays meet at one that works for both, whichever that is, and go on at another if it dies."""

from __future__ import annotations

import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import NotARelay, P2PCopyError, PeerTimeout, RelayUnreachable, WrongCode
from p2p_copy.peer import limits
from p2p_copy.protocol import keys
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.ranking import ranked
from p2p_copy.protocol.rendezvous import Paired, Role, Welcome, room_path
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay
from p2p_copy.units import MIB
from tests.contrib.programs import free_port
from tests.relay.clients import Relay as At, answer, hello
from tests.support.links import serving
from tests.support.transfers import CODE, Told, receive, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from p2p_copy.observer import Report
    from p2p_copy.transport.tcp import TCPStream

_CHECK = "Check host and port, and whether the relay runs."

PATIENT = 40.0
"""Seconds: far less than a side waits, far more than a busy machine needs."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETURN_AFTER", (0.02, 0.1))
    monkeypatch.setattr(limits, "NEXT_RELAY_AFTER", 0.1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    return tmp_path / "file"


class Site:
    """A port at which a relay runs or not."""

    def __init__(self, nursery: trio.Nursery, **config: Any) -> None:
        self._nursery = nursery
        self._config = config
        self._scope = trio.CancelScope()
        self.port = free_port()  # stays free while no relay runs

    async def start(self) -> Site:
        self._scope = trio.CancelScope()
        self.relay = Relay(RelayConfig("127.0.0.1", self.port, **self._config))

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            with self._scope:
                await self.relay.run(task_status=task_status)

        bound = await self._nursery.start(run)
        self.port = bound[0][1]
        return self

    def kill(self) -> None:
        self._scope.cancel()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def waiting(self) -> int:
        return self.relay.counts[0]

    @property
    def served(self) -> int:
        """How many pairings there were."""
        return self.relay.counts[1] + self.relay.counts[2]


@asynccontextmanager
async def sites(count: int, room: str = keys.room_id(CODE.room), **config: Any) -> AsyncIterator[list[Site]]:
    """Run some relays; yield them in the order in which both sides try them for this room."""
    async with trio.open_nursery() as nursery:
        found = [await Site(nursery, **config).start() for _ in range(count)]
        by_url = {site.url: site for site in found}
        with trio.fail_after(PATIENT):
            yield [by_url[url] for url in ranked(room, by_url)]
        nursery.cancel_scope.cancel()


class Side:
    """One side of a transfer, which ends with a report or an error."""

    def __init__(
        self,
        nursery: trio.Nursery,
        role: Role,
        relays: list[str],
        path: Path,
        code: Code = CODE,
        **options: Any,
    ) -> None:
        self.told = Told()
        self.report: Report | None = None
        self.error: P2PCopyError | None = None
        self._role, self._path = role, path
        self._options = {"relay": relays, "code": code, "patience": 30, "observer": self.told, **options}
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        try:
            if self._role is Role.SENDER:
                self.report = await send([str(self._path)], **self._options)
            else:
                self.report = await receive(str(self._path), **self._options)
        except P2PCopyError as error:
            self.error = error

    async def reaches(self, state: str = "waiting") -> None:
        while state not in self.told.states:  # noqa: ASYNC110
            await trio.sleep(0.005)


def other(role: Role) -> Role:
    return Role.RECEIVER if role is Role.SENDER else Role.SENDER


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.005)


@pytest.mark.parametrize("first", Role)
async def test_both_meet_at_the_best_relay_in_whatever_order_they_list_them(
    file: Path, tmp_path: Path, first: Role
) -> None:
    async with sites(3) as found:
        urls = [site.url for site in found]
        async with trio.open_nursery() as nursery:
            paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}
            side = Side(nursery, first, urls, paths[first])
            await until(lambda: all(site.waiting for site in found))
            Side(nursery, other(first), urls[::-1], paths[other(first)])
        assert side.report is not None
        assert found[0].served == 1
        assert await trio.Path(tmp_path / "out" / "file").read_bytes() == await trio.Path(file).read_bytes()
        assert not side.told.notices


@pytest.mark.parametrize("first", Role)
async def test_the_best_relay_that_works_is_used(file: Path, tmp_path: Path, first: Role) -> None:
    async with sites(3) as found:
        found[0].kill()
        urls = [site.url for site in found]
        paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}
        async with trio.open_nursery() as nursery:
            sides = [Side(nursery, role, urls, paths[role]) for role in (first, other(first))]
        assert found[1].served == 1
        for side in sides:
            assert side.error is None
            assert side.told.notices == [
                f"{found[0].url} is left out for now: {found[0].url[5:]} refuses connections. {_CHECK}"
            ]


@pytest.mark.parametrize("first", Role)
async def test_a_better_relay_that_comes_up_while_both_wait_is_used(
    file: Path, tmp_path: Path, first: Role
) -> None:
    """One can reach the two worse ones only, until the best one, which is the only one of the other, comes up."""
    async with sites(3) as found:
        best, *worse = found
        best.kill()
        paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}
        async with trio.open_nursery() as nursery:
            Side(nursery, first, [site.url for site in found], paths[first])
            await until(lambda: all(site.waiting for site in worse))
            await best.start()
            Side(nursery, other(first), [best.url], paths[other(first)])
        assert best.served == 1
        assert (tmp_path / "out" / "file").exists()


@pytest.mark.parametrize("reaches_all", Role)
async def test_a_relay_that_only_one_side_can_reach_keeps_nobody_waiting(
    file: Path, tmp_path: Path, reaches_all: Role
) -> None:
    """The other side's firewall drops its packets to the best relay, or refuses them."""
    async with sites(2) as found:
        best, worse = found
        paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}

        async def silent(stream: TCPStream) -> None:
            await trio.sleep_forever()

        async with serving(silent) as dropping, trio.open_nursery() as nursery:
            Side(nursery, reaches_all, [best.url, worse.url], paths[reaches_all])
            Side(nursery, other(reaches_all), [str(dropping), worse.url], paths[other(reaches_all)])
        assert (best.served, worse.served) == (0, 1)
        assert (tmp_path / "out" / "file").exists()


@pytest.mark.parametrize("common", range(5))
async def test_lists_that_share_one_relay_are_enough(file: Path, tmp_path: Path, common: int) -> None:
    async with sites(5) as found:
        rest = [site.url for site in found if site is not found[common]]
        async with trio.open_nursery() as nursery:
            sender = Side(nursery, Role.SENDER, [*rest[:2], found[common].url], file)
            Side(nursery, Role.RECEIVER, [found[common].url, *rest[2:]], tmp_path / "out")
        assert sender.report is not None
        assert found[common].served == 1


async def test_lists_that_share_none_name_all_in_the_end(file: Path, tmp_path: Path) -> None:
    async with sites(4) as found:
        async with trio.open_nursery() as nursery:
            sender = Side(nursery, Role.SENDER, [site.url for site in found[:2]], file, wait=0.5)
            Side(nursery, Role.RECEIVER, [site.url for site in found[2:]], tmp_path / "out", wait=0.5)
        assert isinstance(sender.error, PeerTimeout)
        assert f"did not connect to {found[0].url} or {found[1].url} within" in str(sender.error)


async def test_a_relay_under_two_names_is_one_that_both_share(file: Path, tmp_path: Path) -> None:
    """Both sides rank it differently, and one side has both names of it."""
    async with sites(2) as found:
        named = [f"ws://localhost:{site.port}" for site in found]
        async with trio.open_nursery() as nursery:
            sender = Side(nursery, Role.SENDER, [*named, *(site.url for site in found)], file)
            await until(lambda: all(site.waiting for site in found))
            Side(nursery, Role.RECEIVER, [site.url for site in found], tmp_path / "out")
        assert sender.report is not None


async def test_when_no_relay_can_be_used_the_error_names_each_and_why(file: Path) -> None:
    async with sites(2) as found, serving(_web_server) as web:
        for site in found:
            site.kill()
        for urls, kind in (
            ([found[0].url, str(web), found[1].url], RelayUnreachable),
            ([str(web), found[0].url, found[1].url], NotARelay),
        ):
            with pytest.raises(kind) as caught:
                await send([str(file)], relay=urls, code=CODE, patience=30)
            first, *rest = re.split(r" \(\d\) ", str(caught.value))
            assert first == "None of the 3 relays can be used."
            assert [each.split(": ")[0] for each in rest] == urls
            assert sum("refuses connections" in each for each in rest) == 2
            assert sum("HTTP status 404" in each for each in rest) == 1


async def _web_server(stream: TCPStream) -> None:
    await stream.receive_some(4096)
    await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("links", [1, 4])
async def test_a_relay_that_dies_in_the_middle_moves_its_pairs(tmp_path: Path, links: int) -> None:
    (tmp_path / "file").write_bytes(os.urandom(24 * MIB))
    async with sites(3, rate=None) as found:
        urls = [site.url for site in found]
        async with trio.open_nursery() as nursery:
            options: dict[str, Any] = {"links": links, "limit_rate": 16 * MIB}
            sides = [
                Side(nursery, Role.SENDER, urls, tmp_path / "file", **options),
                Side(nursery, Role.RECEIVER, urls[::-1], tmp_path / "out", **options),
            ]
            await until(lambda: sides[1].told.last[1] > 4 * MIB)
            found[0].kill()  # where they have met
        assert [side.error for side in sides] == [None, None]
        assert (tmp_path / "out" / "file").read_bytes() == (tmp_path / "file").read_bytes()
        assert sum(site.served for site in found[1:]) >= 1


async def test_a_code_is_tried_at_one_relay_only(file: Path, tmp_path: Path) -> None:
    """Others with another secret wait at each relay; the first of them uses up the code, and no other has a try."""
    async with sites(3) as found:
        wrong = Code(CODE.room, "another long passphrase")
        async with trio.open_nursery() as guessing:
            guessers = [
                Side(
                    guessing,
                    Role.RECEIVER,
                    [site.url],
                    tmp_path / f"out{number}",
                    code=wrong,
                    patience=0,
                )
                for number, site in enumerate(found)
            ]
            await until(lambda: all(site.waiting for site in found))
            async with trio.open_nursery() as nursery:
                sender = Side(nursery, Role.SENDER, [site.url for site in found], file)
            assert isinstance(sender.error, WrongCode)
            await until(lambda: any(guesser.error for guesser in guessers))
            await until(lambda: sum(site.waiting for site in found) == 2)
            guessing.cancel_scope.cancel()
        assert [type(guesser.error) for guesser in guessers].count(WrongCode) == 1


@pytest.mark.parametrize("role", Role)
async def test_a_relay_at_which_the_other_side_says_nothing_is_left(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 0.3)
    paths = {Role.SENDER: file, Role.RECEIVER: tmp_path / "out"}
    async with sites(2) as found, At(found[0].port, None).client(room_path(keys.room_id(CODE.room))) as mute:
        await mute.send(hello(other(role)))
        assert isinstance(await answer(mute), Welcome)
        async with trio.open_nursery() as nursery:
            sides = [
                Side(nursery, role, [site.url for site in found], paths[role]),
                Side(nursery, other(role), [found[1].url], paths[other(role)]),
            ]
        assert [side.error for side in sides] == [None, None]
        assert await answer(mute) == Paired()
