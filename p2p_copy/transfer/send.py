"""The story of one send: meet, offer, stream, hear the receipt, say goodbye."""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.files.receipts.receipt_file import receipt_file
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.count import Counting, count
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.glance import glance
from p2p_copy.files.stdio import STANDARD
from p2p_copy.files.user_paths import as_path_if_any, as_paths, look_at
from p2p_copy.observer import Observer, Report
from p2p_copy.options import SendOptions
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.peer.reconnect import run_with_reconnect
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Accept,
    Ask,
    Goodbye,
    Holds,
    Message,
    Offer,
    Progress,
    Reason,
    Receipt,
    Reject,
    Total,
    Waive,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.confirm import show
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.delivery import Delivery
from p2p_copy.transfer.lifecycle import run_beside, writing
from p2p_copy.transfer.news import News
from p2p_copy.transfer.preserve import UNTOLD, Once, flags, not_asked_for
from p2p_copy.transfer.reasons import SENTENCES, unfinished
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.transfer.stalls import slow_way
from p2p_copy.transfer.stream.piping import PipeIn
from p2p_copy.transfer.tree.producer import TreeProducer
from p2p_copy.transport.link import LinkBroken
from p2p_copy.version import FULL_NAME, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.state.store import State
    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.session import Session


async def send(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    access: RelayAccess,
    code: Code | None,
    options: SendOptions = SendOptions(),
    *,
    state: State | None = None,
    observer: Observer | None = None,
    on_room: Callable[[str], None] | None = None,
) -> Report:
    """Send files and directories to the receiver with the same code at the same relay.

    Returns when the receiver has confirmed, under the session's key, that it holds what was sent. A report
    with failures means that some things did not arrive; the observer was told which.

    Args:
        paths: a file or directory of this machine, or several; their last components are the names at the receiver.
            Or the text "-" alone: what standard input brings, to its end.
        access: which relay, and how to get in.
        code: the code that both sides share; None to resume with what `state` holds alone.
        options: how to send.
        state: what is saved of this transfer beyond this process; closed at the end, removed if all was delivered,
            or if it failed before there was anything to resume.
        observer: is told how it goes.
        on_room: is called with each room of the relay in which both sides may meet, before the other side can be
            there: for a program that runs the relay as well, and serves these rooms only (`RelayConfig.rooms`).

    Raises:
        NothingToSend: none of the paths can be sent, or one has no name of its own, as a root.
        ValueError, TypeError: an argument is out of range, or of the wrong type.
        UsageError: two paths have the same name; the receipt cannot be written, or exists; a pattern has the wrong
            form; or "-" is not alone.
        PipeFailed: what goes through a pipe has ended early, or cannot be gone on with.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    watcher = observer or Observer()
    selection = Selection(options.only, options.exclude)
    places, receipt_place = as_paths(paths), as_path_if_any(options.receipt)
    partner = ConnectOptions(
        Role.SENDER, access, code, options.wait, watcher, options.streams, on_room
    ).checked()
    memory = Resumption(state, options.patience, watcher)
    memory.linger(limits.GOODBYE_LINGER, watcher, _ALL_IS_THERE)
    over, tag = memory.report is not None, memory.receipt_tag
    file = receipt_file(receipt_place, role="sender", program=FULL_NAME, over=over, tag=tag)
    pipe = PipeIn(places, options, selection, memory, watcher)
    sending = _Sending(places, options, selection, memory, file, pipe, watcher)
    # A side that is stopped remembers the transfer even if all is delivered: the receiver may not know it.
    done = failed = False
    try:
        if STANDARD not in places:
            for sentence in await trio.to_thread.run_sync(look_at, places):
                watcher.notice(sentence)
        if file is not None and memory.report is None:
            await memory.begin()
            await trio.to_thread.run_sync(file.probe)
        try:
            report = await run_beside(pipe.read, partial(run_with_reconnect, partner, memory, sending.tell))
        except Exception as error:
            if sending.report is None or not isinstance(error, P2PCopyError):
                await memory.end_for_good(error)
                raise
            report = sending.report  # all is delivered, and we know it; only the goodbye was not heard
        done = True
        if file is not None:
            file.check()
        return report
    except P2PCopyError:
        failed = True
        raise
    finally:
        if sending.report is None:
            sending.sent.note()
        pipe.close()
        await memory.close(done=done or memory.streams or (failed and not memory.is_of_use))


class _Sending:
    """The story, from its beginning for each link. `report` is there once the receiver has confirmed everything."""

    def __init__(
        self,
        paths: Sequence[str],
        options: SendOptions,
        selection: Selection,
        memory: Resumption,
        file: ReceiptFile | None,
        pipe: PipeIn,
        observer: Observer,
    ) -> None:
        self._paths = paths
        self._symlinks = options.symlinks
        self._selection = selection
        self._preserve = flags(options.preserve)
        self._memory = memory
        self._file = file
        self._observer = observer
        self._pipe = pipe
        self._began: float | None = None
        self._once = Once(observer)
        self.sent = DigestCache(memory.journal)
        self.report = memory.report

    async def tell(self, link: Channel, session: Session) -> Report:
        """Send what the receiver does not hold yet, hear its receipt, say goodbye."""
        conversation = Conversation(link, session, Role.SENDER)
        if self._began is None:
            self._began = time.monotonic()
        if self.report is None:
            try:
                with plain_errors():
                    async with writing(self._file):
                        self.report = await self._deliver(conversation, self._began)
            except BaseException as error:
                if isinstance(error, Exception) or self._pipe.is_used:
                    last = self._pipe.last_words(error)
                    self._memory.told = await conversation.part_ways(last)
                raise  # who is stopped comes back for a tree, and the receiver learns it from the link at once
        await self._memory.finish(self.report, limits.GOODBYE_LINGER)
        with trio.move_on_after(limits.GOODBYE_LINGER):  # a relay that takes nothing any more cannot spoil it
            await conversation.tell(Goodbye())
        return self.report

    async def _offer(self, conversation: Conversation) -> Accept:
        pipe = self._pipe.is_asked_for
        await conversation.tell(Offer(PROGRAM, conversation.channel.wish.number, self._preserve, pipe))
        answer: Accept | Ask = await conversation.expect(
            Accept, Ask, within=limits.OFFER_TIMEOUT, silence="The receiver does not answer the offer."
        )
        if pipe:
            return await self._pipe.accepted(conversation, answer)
        if isinstance(answer, Accept):
            return answer
        its = (self._paths, self._symlinks, answer.portable_names, self._selection)
        return await show(conversation, partial(glance, *its), Counting(*its), self._observer)

    async def _deliver(self, conversation: Conversation, began: float) -> Report:
        await self._memory.save_ticket(conversation.session, sure=False)
        accept = await self._offer(conversation)
        if accept.preserve & ~self._preserve:
            raise PeerMisbehaved("The receiver asks for more than it was offered.")
        self._once.tell(*not_asked_for(self._preserve & ~accept.preserve, "receiver"))
        conversation.channel.spread(accept.streams)
        await self._memory.save_ticket(conversation.session, sure=True)
        if accept.pipe:
            receipt = await self._pipe.send(conversation, accept, self._file)
            seconds = time.monotonic() - began
            report = Report(receipt.files, receipt.size, 0, 0, receipt.root.hex(), seconds)
        else:
            report = await self._deliver_tree(conversation, accept, began)
        if self._file is not None:
            await trio.to_thread.run_sync(self._file.publish, report)
        return report

    async def _deliver_tree(self, conversation: Conversation, accept: Accept, began: float) -> Report:
        outgoing = TreeProducer(
            self._paths,
            conversation.session,
            accept,
            self.sent,
            links=self._symlinks,
            selection=self._selection,
            receipt=self._file,
            state_directories=self._memory.state_directories,
        )
        names = accept.portable_names
        look = partial(
            count, self._paths, links=self._symlinks, portable_names=names, selection=self._selection
        )
        try:
            receipt = await _stream(conversation, outgoing, look, self._observer)
        finally:
            with trio.CancelScope(shield=True):  # bounded: it closes a few directories and one file
                await trio.to_thread.run_sync(outgoing.close)
        if outgoing.untold:
            self._once.tell(UNTOLD)
        if outgoing.unfinished:
            self._once.tell(unfinished(outgoing.unfinished))
        return outgoing.report(receipt, time.monotonic() - began)


async def _stream(
    conversation: Conversation,
    outgoing: TreeProducer,
    look: Callable[..., tuple[int, int] | None],
    observer: Observer,
) -> Receipt:
    """Send all records while listening to the receiver; return its receipt, checked."""
    stop_counting = False
    outgoing_news = News()
    delivery = Delivery(conversation, observer)
    stalls = delivery.stalls

    def no_way() -> str:
        return slow_way(stalls)

    ended = False

    async def count_all() -> None:
        passed = itertools.count()
        total = await trio.to_thread.run_sync(partial(look, stop=lambda: next(passed) > limits.COUNT_AT_ONCE))
        if total is None:
            await trio.sleep(limits.COUNT_AFTER)
            total = await trio.to_thread.run_sync(partial(look, stop=lambda: stop_counting))
        if total is not None:
            outgoing.hear(Total(*total))
            observer.total(*total)

    async def produce(handfuls: trio.MemorySendChannel[list[bytes]]) -> None:
        with handfuls:
            began = trio.current_time()
            while not outgoing.ended:
                news = outgoing_news.next()
                with stalls.waiting_for(_SLOW_DISK):
                    made = await trio.to_thread.run_sync(outgoing.next_records, protocol_limits.PIPELINE)
                _tell_problems(outgoing, observer)
                observer.spared(outgoing.spared)
                if outgoing.stuck and not made:
                    with stalls.waiting_for(_SILENT_RECEIVER):
                        await news.wait()
                    began = trio.current_time()
                if made:
                    size = sum(map(len, made))  # they are taken out one by one
                    try:
                        await handfuls.send(made)
                    except trio.BrokenResourceError:
                        return  # nothing is transmitted any more; the listener learns why
                    outgoing.keep_pace(size // conversation.channel.width, trio.current_time() - began)
                began = trio.current_time()

    async def transmit(handfuls: trio.MemoryReceiveChannel[list[bytes]]) -> None:
        with handfuls:
            try:
                async for records in handfuls:
                    while records and not ended:
                        with stalls.waiting_for(no_way, lambda: stalls.gone):
                            await conversation.send(records.pop(0))
            except LinkBroken:
                return  # the listener learns why, perhaps from the receiver's own last words
        if not ended and outgoing.ended:
            await delivery.wait_for_receipt()

    to_wire, from_disk = trio.open_memory_channel[list[bytes]](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        nursery.start_soon(count_all)
        nursery.start_soon(produce, to_wire)
        nursery.start_soon(transmit, from_disk)
        try:
            receipt = await _listen(conversation, outgoing, outgoing_news, delivery, observer)
        finally:
            stop_counting = ended = True
            nursery.cancel_scope.cancel()
    outgoing.check(receipt)
    _tell_problems(outgoing, observer)
    return receipt


_SLOW_DISK = "Nothing moves: the disk here has given nothing"
_ALL_IS_THERE = "All was delivered, and confirmed, in an earlier run; only the receiver may not know that."
_SILENT_RECEIVER = "Nothing moves: the receiver looks what it has already, and has not answered"


def _tell_problems(outgoing: TreeProducer, observer: Observer) -> None:
    for path, reason in outgoing.take_problems():
        observer.problem(path, SENTENCES[reason])


async def _listen(
    conversation: Conversation,
    outgoing: TreeProducer,
    news: News,
    delivery: Delivery,
    observer: Observer,
) -> Receipt:
    with delivery.patience(beats=False):
        while True:
            message = await conversation.hear()
            if isinstance(message, Receipt):
                return message
            if isinstance(message, Reject | Waive | Holds) and not outgoing.hear(message):
                await trio.to_thread.run_sync(outgoing.catch_up)
            if isinstance(message, Holds):
                news.come()
            _note(message, observer)
            delivery.hear(message)


def _note(message: Message, observer: Observer) -> None:
    match message:
        case Progress():
            observer.progress(message.files, message.size)
        case Reject():
            if message.reason.is_failure:
                observer.problem(escape(message.path), SENTENCES[message.reason])
            elif message.reason not in {Reason.EXCLUDED, Reason.UNMADE}:
                observer.skipped(escape(message.path))
        case Waive() | Holds():
            pass
        case _:
            raise AssertionError("the table lets no receiver say anything else here")
