"""The story of one receive: meet, accept, write what comes, give the receipt, hear the goodbye."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import Declined, P2PCopyError, PeerLost, PeerMisbehaved
from p2p_copy.files.receipts.receipt_file import receipt_file
from p2p_copy.files.selection import Selection
from p2p_copy.files.target import permissions
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.files.user_paths import as_path, as_path_if_any
from p2p_copy.observer import Observer, Report
from p2p_copy.options import ReceiveOptions
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.peer.multipath import LINK_ERRORS
from p2p_copy.peer.reconnect import run_with_reconnect
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Accept, Goodbye, Offer, Preserved
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.confirm import Question
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.lifecycle import run_beside, writing
from p2p_copy.transfer.preserve import LOST, Once, not_asked_for, not_possible, wanted
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.transfer.stalls import Stalls, nothing_comes_from_sender
from p2p_copy.transfer.stream.piping import PipeOut
from p2p_copy.transfer.telling import tell
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transport.link import LinkBroken
from p2p_copy.version import FULL_NAME, PROGRAM

if TYPE_CHECKING:
    from os import PathLike

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Ask
    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.session import Session


async def receive(
    out: str | PathLike[str],
    access: RelayAccess,
    code: Code | None,
    options: ReceiveOptions = ReceiveOptions(),
    *,
    state: State | None = None,
    ask: Ask | None = None,
    observer: Observer | None = None,
) -> Report:
    """Receive what the sender with the same code at the same relay has, into the directory `out`.

    Returns when all that was sent lies verified under its names, and the sender knows. A report with
    failures means that some things did not arrive; the observer was told which. Nothing is ever written
    outside `out`, and no name ever holds half a file.

    Args:
        out: the directory; made if it does not exist. Or the text "-": standard output, for a sender of a stream or of
            one file.
        access: which relay, and how to get in.
        code: the code that both sides share; None to resume with what `state` holds alone.
        options: how to receive. Group and others get no more permissions than the umask of this process allows, unless
            MODE or OWNER is preserved.
        state: what is saved of this transfer beyond this process; closed at the end, removed if all has arrived.
        ask: is shown what would come, and says whether it shall, before anything is written; after a no the sender
            waits on with the same code. Who goes on with a transfer is not asked again.
        observer: is told how it goes.

    Raises:
        Declined: the answer was no.
        OutputNotWritable: `out` cannot be written to.
        ValueError, TypeError: an argument is out of range, or of the wrong type.
        UsageError: the receipt cannot be written, or exists; a pattern has the wrong form; there is no standard output;
            or owners are to be kept by somebody who is not root.
        PipeFailed: what goes through a pipe has ended early, or cannot be gone on with.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    watcher = observer or Observer()
    preserve = wanted(options.preserve)
    place, receipt_place = as_path(out), as_path_if_any(options.receipt)
    selection = Selection(options.only, options.exclude)
    partner = ConnectOptions(Role.RECEIVER, access, code, options.wait, watcher, options.streams).checked()
    memory = Resumption(state, options.patience, watcher)
    memory.linger(limits.AGAIN_LINGER, watcher, _ALL_IS_HERE)
    over, tag = memory.report is not None, memory.receipt_tag
    allowed = await trio.to_thread.run_sync(permissions.allowed, options.preserve)
    file = receipt_file(
        receipt_place, role="receiver", program=FULL_NAME, over=over, tag=tag, allowed=allowed
    )
    pipe = PipeOut(place, options, selection, memory, watcher)
    receiving = _Receiving(place, options, preserve, allowed, selection, memory, file, pipe, watcher, ask)
    done = failed = False  # who is stopped is remembered even if all is here: the sender may not know it
    try:
        if receiving.report is None and receiving.begun:
            await receiving.probe()
        try:
            report = await run_beside(
                pipe.write, partial(run_with_reconnect, partner, memory, receiving.tell)
            )
        except Exception as error:
            if receiving.report is None or not isinstance(error, P2PCopyError):
                await memory.end_for_good(error)
                raise
            report = receiving.report  # all is here; whether the sender knows could not be found out
        done = True
        if file is not None:
            file.check()
        return report
    except P2PCopyError:
        failed = True
        raise
    finally:
        with trio.CancelScope(shield=True):  # bounded: it removes one part at most
            await trio.to_thread.run_sync(pipe.close)
            if state is None and receiving.report is None and receiving.begun:
                await trio.to_thread.run_sync(receiving.leave_nothing)
            unbegun = not receiving.begun and memory.journal.empty and not memory.is_used_up
            untouched = unbegun or (failed and not memory.is_of_use)
            await memory.close(done=done or untouched or memory.streams)


class _Receiving:
    """The story, from its beginning for each link.

    Attributes:
        report: there once everything is here, and confirmed.
        begun: the user wants it, or need not be asked; nothing is written before.

    """

    def __init__(
        self,
        out: str,
        options: ReceiveOptions,
        preserve: Preserved,
        allowed: int,
        selection: Selection,
        memory: Resumption,
        file: ReceiptFile | None,
        pipe: PipeOut,
        observer: Observer,
        ask: Ask | None,
    ) -> None:
        self._question = (
            None if ask is None else Question(out, ask, selection, portable=options.portable_names)
        )
        self.begun = self._question is None or memory.has_ticket
        self._out = out
        self._options = options
        self._preserve = preserve
        self._allowed = allowed
        self._offered = Preserved.NOTHING
        self._once = Once(observer)
        self._selection = selection
        self._memory = memory
        self._file = file
        self._observer = observer
        self._pipe = pipe
        self._began: float | None = None
        self.report = memory.report

    async def probe(self) -> None:
        """Find out whether there is a place to write to, before anybody is called."""
        await self._memory.begin()
        await trio.to_thread.run_sync(self._probe)

    def _probe(self) -> None:
        if not self._pipe.is_asked_for:
            self._target().close()
        if self._file is not None:  # it may lie in the output directory, which is there only now
            self._file.probe()

    def _target(self) -> Target:
        memory = self._memory
        resume = ResumeIndex(
            memory.journal,
            reverify=self._options.reverify,
            restarted=memory.restarted,
            tag=memory.tag,
        )
        return Target(self._out, conflict=self._options.conflict, resume=resume, allowed=self._allowed)

    def _open(self) -> tuple[Target, Preserved, str]:
        """Return the target, what of that which was asked for can be kept in it, and by what it is marked."""
        target = self._target()
        target.resume.mark_running()
        return target, target.supported(self._preserve), target.marker.create()

    def leave_nothing(self) -> None:
        """Remove what nobody will ever go on with."""
        if self._pipe.is_asked_for:
            return
        with suppress(P2PCopyError):
            target = self._target()
            target.remove_orphans()
            target.close()

    async def tell(self, link: Channel, session: Session) -> Report:
        """Take what is not here yet, give the receipt, hear the goodbye."""
        conversation = Conversation(link, session, Role.RECEIVER)
        if self._began is None:
            self._began = time.monotonic()
        try:
            with plain_errors():
                offer = await self._hear_offer(conversation)
                if offer is not None:
                    await self._ask(conversation, offer)
                    pipe = offer.pipe or self._pipe.is_asked_for
                    streams = conversation.channel.wish.agree(offer.streams)
                    await (self._take_stream if pipe else self._take)(conversation, streams)
        except BaseException as error:
            foreseen = isinstance(error, P2PCopyError) or not isinstance(error, Exception)  # and not a bug
            refused = not self.begun and foreseen and not isinstance(error, PeerMisbehaved)
            last = self._pipe.last_words(Declined() if refused else error)
            self._memory.told = await conversation.part_ways(last)
            raise
        assert self.report is not None, "all was written, now or before"
        return self.report

    async def _hear_offer(self, conversation: Conversation) -> Offer | None:
        """Hear what the sender comes for; None if it is only to say that it knows."""
        first: Offer | Goodbye = await conversation.expect(
            Offer,
            Goodbye,
            within=limits.OFFER_TIMEOUT,
            silence="The sender is connected but offers nothing.",
        )
        if isinstance(first, Goodbye):
            if self.report is None:
                raise PeerMisbehaved("The sender says that everything is here, but it is not.")
            return None
        self._once.tell(*not_asked_for(self._preserve & ~first.preserve, "sender"))
        self._offered = first.preserve
        return first

    async def _ask(self, conversation: Conversation, offer: Offer) -> None:
        """Let the user decide, once, and find out whether there is a place to write to."""
        if not self.begun and self._question is not None:
            await self._question.put(conversation, self._observer, stream=offer.pipe)
            await self.probe()
            self.begun = True
            self._observer.accepted()

    async def _accept(self, conversation: Conversation, accept: Accept) -> None:
        await self._memory.save_ticket(conversation.session, sure=True)
        await conversation.tell(accept)
        conversation.channel.spread(accept.streams)

    async def _take_stream(self, conversation: Conversation, streams: int) -> None:
        """Take what is not here yet of a stream, and tell the sender when all is."""

        async def confirm(size: int, root: bytes) -> None:
            await self._confirm(Report(1, size, 0, 0, root.hex(), self._seconds))

        async with writing(self._file):
            portable = self._options.portable_names
            await self._accept(conversation, Accept(PROGRAM, portable, streams=streams, pipe=True))
            await self._pipe.take(conversation, self._target, self._file, confirm)

    async def _take(self, conversation: Conversation, streams: int) -> None:
        target, preserve, marker = await trio.to_thread.run_sync(self._open)
        self._once.tell(*not_possible(self._preserve & ~preserve))
        preserve &= self._offered
        settled = self._note if self._file is not None else None
        portable = self._options.portable_names
        manifest = Manifest(portable=portable, key=os.urandom(16), settled=settled, preserve=preserve)
        incoming = TreeConsumer(
            target,
            conversation.session,
            manifest,
            max_size=self._options.max_size,
            max_files=self._options.max_files,
            selection=self._selection,
            unmade=self._unmade,
        )
        try:
            async with writing(self._file):
                accept = Accept(PROGRAM, portable, incoming.holds, streams, preserve, marker=marker)
                await self._accept(conversation, accept)
                await self._write_all(conversation, incoming)
            if target.attributes_lost:
                self._once.tell(LOST)
        finally:
            with trio.CancelScope(shield=True):  # bounded: it flushes or unlinks one part
                lasts = self._memory.lasts and (self.report is None or not incoming.goodbye)
                await trio.to_thread.run_sync(partial(target.close, keep=lasts))

    async def _write_all(self, conversation: Conversation, incoming: TreeConsumer) -> None:
        """Take records from the link while earlier ones are being written; end when the sender knows.

        What has come is heard before the end of the link is: it may end with the sender's last words.
        """
        lost: list[Exception] = []

        async def fetch(records: trio.MemorySendChannel[bytes | str]) -> None:
            with records:
                while True:
                    try:
                        await records.send(await conversation.channel.receive())
                    except LINK_ERRORS as error:
                        lost.append(error)
                        return

        from_link, to_disk = trio.open_memory_channel[bytes | str](protocol_limits.PIPELINE)
        async with trio.open_nursery() as nursery:
            stalls = Stalls(self._observer, conversation)

            def nothing_comes() -> str:
                return nothing_comes_from_sender(
                    stalls.movement, in_message=conversation.channel.under_way > 0
                )

            nursery.start_soon(stalls.watch)
            nursery.start_soon(fetch, from_link)
            while not incoming.goodbye:
                limit = limits.RECEIPT_LINGER if incoming.root is not None else math.inf
                with trio.move_on_after(limit) as deadline:
                    try:
                        with stalls.waiting_for(nothing_comes, lambda: stalls.coming):
                            records = [await self._next(to_disk, conversation, incoming)]
                    except trio.EndOfChannel:
                        if incoming.root is None:
                            raise lost.pop() from None
                        raise PeerLost("The sender went away before it could say that it knows.") from None
                if deadline.cancelled_caught:
                    break
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    while len(records) < protocol_limits.PIPELINE:
                        records.append(to_disk.receive_nowait())
                with stalls.waiting_for(_SLOW_DISK):
                    answers = await trio.to_thread.run_sync(incoming.consume, records, trio.current_time())
                tell(incoming, self._observer)
                with suppress(LinkBroken):  # the fetcher learns of that
                    for answer in answers:
                        await conversation.send(answer)
                if incoming.ending:
                    with stalls.waiting_for(_SLOW_DISK):
                        answers = await trio.to_thread.run_sync(incoming.finish)
                        await self._confirm(incoming.report(self._seconds))
                    with suppress(LinkBroken):
                        for answer in answers:
                            await conversation.send(answer)
            nursery.cancel_scope.cancel()

    async def _next(
        self,
        records: trio.MemoryReceiveChannel[bytes | str],
        conversation: Conversation,
        incoming: TreeConsumer,
    ) -> bytes | str:
        """Return the next record; while there is none, let the sender know that it is waited for."""
        while True:
            with trio.move_on_after(limits.BEAT):
                return await records.receive()
            if (beat := incoming.heartbeat()) is not None:
                with suppress(LinkBroken):
                    await conversation.send(beat)

    @property
    def _seconds(self) -> float:
        assert self._began is not None, "set when the story began"
        return time.monotonic() - self._began

    async def _confirm(self, report: Report) -> None:
        """Note that everything is here: from now on nothing is missing but the sender's goodbye."""
        if self._file is not None:
            await trio.to_thread.run_sync(self._file.publish, report)
        self.report = report
        await self._memory.finish(report, limits.RECEIPT_LINGER)

    def _note(self, item: Item) -> None:
        """Write an entry into the receipt."""
        assert self._file is not None, "else nobody calls this"
        self._file.add(item.place, item.entry, item.digest, delivered=not item.refused)

    def _unmade(self, index: int) -> None:
        """Correct the receipt: what lies in a directory comes behind it, and may have made it."""
        if self._file is not None:
            self._file.undeliver(index)


_ALL_IS_HERE = (
    "All is here, verified, since an earlier run; only the sender may not know that, and is waited for."
)


_SLOW_DISK = "Nothing moves: the disk here has taken nothing"
