"""A transfer to the page in two conversations: what the sender says in the second one counts."""

from __future__ import annotations

import contextlib
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.observer import Observer
from p2p_copy.options import RelayAccess
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.code import Code
from p2p_copy.protocol.digest import RootDigest
from p2p_copy.protocol.messages import (
    Entry,
    Finish,
    Goodbye,
    Message,
    Offer,
    Page,
    Preview,
    Progress,
    Receipt,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.resumption import Resumption
from tests.support.malicious_sender import contents, digest, directory, file, link
from tests.support.processes import CODE
from tests.web.conftest import LONGEST, PATIENCE, World, ask, download, status, until
from tests.web.test_hostile_sender import Attack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.once, pytest.mark.slow]  # a browser and a relay have to start

SECONDS = PATIENCE / 1000

OFFER = Offer("sender/1", 1)


class Twice(Attack):
    """A sender that ends its first conversation once it has heard a message of one kind, and later comes back.

    Attributes:
        left: set when the first conversation is over.
        again: set by the test when the second one may begin.

    """

    def __init__(
        self, relay: str, first: Sequence[Message], until: type[Message], second: Sequence[Sequence[Message]]
    ) -> None:
        super().__init__(relay, [])
        self.left = threading.Event()
        self.again = threading.Event()
        self._first = first
        self._until = until
        self._second = second

    def __exit__(self, *_: object) -> None:
        self.again.set()
        super().__exit__()

    async def _run(self) -> None:
        partner = ConnectOptions(
            Role.SENDER, [RelayAccess(self._relay)], Code.parse(CODE), SECONDS, Observer()
        )
        resumption = Resumption(None, 0)
        with trio.fail_after(LONGEST), plain_errors():
            async with meet(partner, resumption.meeting(partner), SECONDS) as (channel, session):
                for record in ([OFFER], [Preview(1, 1, True, 1, ())], self._first):
                    for message in record:
                        session.say(message)
                    await channel.send(session.record())
                    await self._hear(channel, session)
                while not any(isinstance(message, self._until) for message in self.heard):
                    await self._hear(channel, session)
                ticket = session.ticket
            self.left.set()
            await trio.to_thread.run_sync(self.again.wait)
            with contextlib.suppress(P2PCopyError), plain_errors():  # at the end the page closes the link
                async with meet(partner, resumption.meeting(partner, ticket), SECONDS) as (channel, session):
                    for record in self._second:
                        for message in record:
                            session.say(message)
                        await channel.send(session.record())
                        if record == [OFFER]:
                            await self._hear(channel, session)
                        while isinstance(record[-1], Finish) and not isinstance(self.heard[-1], Receipt):
                            await self._hear(channel, session)
                    while True:
                        await self._hear(channel, session)

    async def _hear(self, channel: Any, session: Any) -> None:
        self.heard += session.hear(await channel.receive())


def finish(entries: Sequence[Entry], files: dict[int, bytes]) -> Finish:
    """Return the Finish of a sender that has sent these contents, by their entries' numbers."""
    root = RootDigest()
    for index, entry in enumerate(entries):
        root.add(entry, digest(files[index]) if index in files else None)
    return Finish(len(entries), len(files), sum(map(len, files.values())), 0, root.digest())


_STATES = """() => new Promise((resolve) => {
    indexedDB.open('p2p-copy').onsuccess = ({ target: { result: database } }) => {
        const all = database.transaction('transfers').objectStore('transfers').getAll();
        all.onsuccess = () => (database.close(), resolve(all.result.map(({ state }) => state)));
    };
})"""


def states(page: Any) -> list[str]:
    """Return the states of the transfers that the browser keeps."""
    found: list[str] = page.evaluate(_STATES)
    return found


def test_what_was_confirmed_is_offered_although_the_sender_left_without_a_goodbye(
    world: World, tmp_path: Path
) -> None:
    entries = [file(0, "a", 4)]
    first = [Page(tuple(entries)), *contents(0, b"abcd"), finish(entries, {0: b"abcd"})]
    with Twice(world.relay, first, Receipt, [[Goodbye()]]) as sender:
        ask(world.page)
        world.page.click("#accept")
        assert sender.left.wait(SECONDS)
        status(world.page, "Received")
        assert states(world.page) == ["whole"]
        world.page.reload()
        status(world.page, "Received")
        assert download(world.page, tmp_path).read_bytes() == b"abcd"
        sender.again.set()
        until(world.page, f"async () => String(await ({_STATES})()) === 'done'")
        assert world.page.inner_text("#status") == "Received"
    world.page.reload()
    world.page.get_by_role("button", name="Open").click()
    status(world.page, "Received")


def test_a_page_that_starts_over_is_not_disturbed_by_the_end_of_the_last_transfer(world: World) -> None:
    entries = [file(0, "a", 4)]
    first = [Page(tuple(entries)), *contents(0, b"abcd"), finish(entries, {0: b"abcd"})]
    with Twice(world.relay, first, Receipt, [[Goodbye()]]) as sender:
        ask(world.page)
        world.page.click("#accept")
        status(world.page, "Received")
        world.page.click("#again")
        world.page.get_by_role("button", name="Open").wait_for()
        sender.again.set()
        until(world.page, f"async () => String(await ({_STATES})()) === 'done'")
        assert world.page.is_visible("#start")
        assert not world.page.is_visible("#transfer")


def test_a_second_tab_cannot_remove_what_the_first_one_receives(world: World) -> None:
    with Attack(world.relay, [[Page((file(0, "a", 4),))]]):
        ask(world.page)
        world.page.click("#accept")
        status(world.page, "Receiving")
        second = world.open()
        told = second.get_by_text("Another tab of this browser has this transfer.")
        told.wait_for()  # it has tried to go on with it
        second.evaluate("() => document.getElementById('kept-help').replaceChildren()")
        second.get_by_role("button", name="Remove").click()
        told.wait_for()
        assert states(second) == ["active"]
        world.page.click("#stop")
        status(world.page, "Stopped")
    assert not states(second)


def test_a_name_that_became_something_else_is_not_what_it_was(world: World, tmp_path: Path) -> None:
    top = directory(0, "d")
    was = [top, file(1, "one", 4), file(1, "two", 4), directory(1, "three"), file(1, "four", 9)]
    first = [Page(tuple(was)), *contents(1, b"1234"), *contents(2, b"5678"), *contents(4, b"long ago!")[:1]]
    now = [top, directory(1, "one"), link(1, "two", "one"), file(1, "three", 5)]
    second: list[list[Message]] = [
        [OFFER],
        [Page(tuple(now))],
        contents(3, b"three"),
        [finish(now, {3: b"three"})],
        [Goodbye()],
    ]
    with Twice(world.relay, first, Progress, second) as sender:
        ask(world.page)
        world.page.click("#accept")
        assert sender.left.wait(SECONDS)
        sender.again.set()
        status(world.page, "Received, but not all")
        archive = download(world.page, tmp_path)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["d/", "d/one/", "d/three"]
        assert opened.read("d/three") == b"three"
        assert opened.testzip() is None
    # Nothing else looks like a member, for programs that read from the beginning.
    assert archive.read_bytes().count(b"PK\x03\x04") == 3
