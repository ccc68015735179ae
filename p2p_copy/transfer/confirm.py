"""Before anything flows: the sender shows what it has, and the receiver's user says yes or no. Both sides' stories.

Nothing is written and nothing is kept before the yes. A no costs nothing either: the two sides have met, but the
receiver has no ticket, so the sender drops its own and waits for the same code again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import Declined, PeerLost, PeerMisbehaved
from p2p_copy.files.source.glance import Glance
from p2p_copy.files.target.space import space_for
from p2p_copy.observer import PreviewEntry, TransferPreview
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Abort, Accept, Ask, Kind, Preview, Reason, Total
from p2p_copy.protocol.names import refusal
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.source.count import Counting
    from p2p_copy.observer import Observer
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.messages import Entry, Message
    from p2p_copy.protocol.session import Session


async def show(
    link: Channel, session: Session, look: Callable[[], Glance], counting: Counting, observer: Observer
) -> Accept:
    """Show the receiver's user what would be sent, go on counting, and return the answer.

    Raises:
        Declined: it is no.
        PeerLost, PeerFailed, PeerMisbehaved: there is none.

    """
    observer.asked()
    counted = trio.Event()
    waiting = trio.CancelScope()

    async def count() -> None:
        await trio.to_thread.run_sync(counting.run)
        counted.set()

    async def tell_total() -> None:
        with waiting:
            await counted.wait()
        if not waiting.cancelled_caught:
            session.say(Total(counting.files, counting.size))
            await link.send(session.record())

    async with trio.open_nursery() as nursery:
        try:
            nursery.start_soon(count)
            seen = Glance(0, ())
            with trio.move_on_after(limits.PREVIEW_AFTER):
                seen = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
                await counted.wait()
            done = counted.is_set()
            session.say(Preview(counting.files, counting.size, done, *seen))
            await link.send(session.record())
            if not done:
                nursery.start_soon(tell_total)
            accept = await _answer(link, session)
            waiting.cancel()
        finally:
            counting.stop()
    observer.accepted()
    return accept


async def show_stream(link: Channel, session: Session, entry: Entry, observer: Observer) -> Accept:
    """Show the receiver's user that a stream would come, of which nobody knows the length, and return the answer.

    Raises:
        Declined: it is no.
        PeerLost, PeerFailed, PeerMisbehaved: there is none.

    """
    observer.asked()
    session.say(Preview(1, 0, False, 1, (entry,)))
    await link.send(session.record())
    accept = await _answer(link, session)
    observer.accepted()
    return accept


async def _answer(link: Channel, session: Session) -> Accept:
    with within(limits.ANSWER_TIMEOUT + limits.OFFER_TIMEOUT):
        for message in session.hear(await link.receive()):
            match message:
                case Accept():
                    return message
                case Abort(reason=Reason.DECLINED):
                    raise Declined("The receiver declined.")
                case Abort():
                    raise given_up(message, "receiver")
                case _:
                    raise AssertionError("the table lets no receiver say anything else here")
        raise PeerMisbehaved("The other side answered with nothing.")
    raise PeerLost("Nobody at the receiver has answered.")


class Question:
    """What the receiver's user is asked, and how."""

    def __init__(
        self,
        out: str,
        answer: Callable[[TransferPreview], Awaitable[bool]],
        selection: Selection,
        *,
        portable: bool,
    ) -> None:
        self._out = out
        self._answer = answer
        self._selection = selection
        self._portable = portable

    async def put(self, link: Channel, session: Session, observer: Observer, *, stream: bool) -> None:
        """Have the sender show what it has, which may be a `stream`, and the user answer.

        Raises:
            Declined: the answer is no, or there is none for too long.
            PeerLost, PeerFailed, PeerMisbehaved: the sender is gone, or gave up, before there was an answer.

        """
        session.say(Ask(self._portable))
        await link.send(session.record())
        preview: Preview | None = None
        with within(limits.OFFER_TIMEOUT):
            for message in session.hear(await link.receive()):
                preview = self._note(message, observer) or preview
            if preview is None:
                raise PeerMisbehaved("The other side answered with nothing.")
        if preview is None:
            raise PeerLost("The sender is connected but shows nothing.")
        outlook = await trio.to_thread.run_sync(self._outlook, preview, stream)
        yes: bool | None = None

        async def listen() -> None:
            while True:
                for message in session.hear(await link.receive()):
                    self._note(message, observer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with within(limits.ANSWER_TIMEOUT):
                yes = await self._answer(outlook)
            nursery.cancel_scope.cancel()
        if not yes:
            raise Declined(None if yes is False else "Nobody has answered, so nothing was received.")
        if preview.counted:
            self._tell_total(preview, observer)

    def _note(self, message: Message, observer: Observer) -> Preview | None:
        match message:
            case Preview():
                return message
            case Total():
                self._tell_total(message, observer)
                return None
            case Abort():
                raise given_up(message, "sender")
            case _:
                raise AssertionError("the table lets no sender say anything else here")

    def _tell_total(self, message: Preview | Total, observer: Observer) -> None:
        if self._selection.everything:  # else it says nothing of what will come
            observer.total(message.files, message.size)

    def _outlook(self, preview: Preview, stream: bool) -> TransferPreview:
        """Return what the user sees. All that the sender says is checked before it meets the disk or the screen."""
        tops = [entry.name for entry in preview.entries if not entry.depth]
        there = space_for(
            self._out, [name for name in tops if refusal(name, portable=self._portable) is None]
        )
        return TransferPreview(
            files=preview.files,
            size=preview.size,
            counted=preview.counted,
            names=preview.names,
            top=tuple(self._named(preview, there.taken)),
            taken=len(there.taken),
            free_size=there.size,
            free_files=there.files,
            filtered=not self._selection.everything,
            stream=stream,
        )

    def _named(self, preview: Preview, taken: frozenset[str]) -> Iterator[PreviewEntry]:
        """Yield what is wanted of the top; what lies in something else than the directory before it is a violation.

        So is a path longer than any that may come: patterns take their time with long ones.
        """
        way: list[str] = []
        for entry in preview.entries:
            if entry.depth > len(way):
                raise PeerMisbehaved("The other side shows something in a directory that it does not show.")
            name = entry.name[: protocol_limits.MAX_NAME]
            path = "/".join((*way[: entry.depth], name))
            if len(path) > protocol_limits.MAX_PATH:
                raise PeerMisbehaved("The other side shows a path that is too long.")
            way[entry.depth :] = [name]
            directory = entry.kind is Kind.DIRECTORY
            if self._selection.leads(path) if directory else self._selection.takes(path):
                exists = not entry.depth and entry.name in taken
                yield PreviewEntry(entry.depth, escape(name), directory, entry.size, exists)
