"""Sends files and directories: the part on the event loop, beside the thread that makes records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.preview import FileCount, preview
from p2p_copy.observer import NoticeOnce
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Holds, Progress, Reason, Reject, SameSegments, Total, Unwanted
from p2p_copy.transfer import limits
from p2p_copy.transfer.confirm import show
from p2p_copy.transfer.conversation import send_until_receipt
from p2p_copy.transfer.preserve import UNSENT
from p2p_copy.transfer.reasons import SENTENCES, unfinished
from p2p_copy.transfer.receipt_wait import ReceiptWait
from p2p_copy.transfer.tree.producer import TreeProducer

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.observer import Report
    from p2p_copy.protocol.messages import Accept, Ask, Message
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.lifecycle import SendJob
    from p2p_copy.transfer.stalls import Stalls


class TreeSender:
    """The files and directories of one transfer, sent in one conversation after another."""

    def __init__(self, job: SendJob) -> None:
        self._job = job
        self._cache = DigestCache(job.resumption.journal)
        self._once = NoticeOnce(job.observer)

    async def show(self, conversation: Conversation, ask: Ask) -> Accept:
        """Show the receiver's user a preview of the trees; return the answer.

        Raises:
            Declined: the user declined.
            PeerLost, PeerFailed, PeerMisbehaved: no answer came.

        """
        trees = self._job.trees._replace(portable_names=ask.portable_names)
        return await show(conversation, partial(preview, trees), FileCount(trees), self._job.observer)

    async def send(self, conversation: Conversation, accept: Accept) -> Report:
        """Send what the receiver does not have yet; return the report of the transfer.

        Raises:
            PeerMisbehaved: the receiver has confirmed something else than was sent.
            P2PCopyError, LinkBroken, EndOfStream: see `send_until_receipt`.

        """
        job = self._job
        producer = TreeProducer(
            job.trees,
            conversation.session,
            accept,
            self._cache,
            receipt=job.receipt,
            state_directories=job.resumption.state_directories,
        )
        sending = _TreeSending(producer, job)
        counting = partial(FileCount, job.trees._replace(portable_names=accept.portable_names))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sending.count, counting)
                try:
                    wait = ReceiptWait(conversation.channel, conversation.session, job.observer)
                    receipt = await send_until_receipt(conversation, sending, wait)
                finally:
                    sending.stop_counting()
                    nursery.cancel_scope.cancel()
            producer.check(receipt)
            sending.report_problems()
        finally:
            with trio.CancelScope(shield=True):  # bounded: it closes a few directories and one file
                await trio.to_thread.run_sync(producer.close)
        if producer.attributes_unsent:
            self._once.notice(UNSENT)
        if producer.unfinished:
            self._once.notice(unfinished(producer.unfinished))
        return producer.report(receipt, job.resumption.seconds)


class _TreeSending:
    """Has a thread make the records of one conversation, and tells the observer; see `conversation.Producer`."""

    def __init__(self, producer: TreeProducer, job: SendJob) -> None:
        self._producer = producer
        self._resumption = job.resumption
        self._observer = job.observer
        self._answered = trio.Event()  # set by an answer that came after the thread last began
        self._began = 0.0
        self._spared = 0  # bytes of which the thread knows that they need not be sent
        self._counting: FileCount | None = None

    async def next_records(self, stalls: Stalls) -> list[bytes]:
        """Have the thread make the next records; wait for the receiver's answer where they depend on it."""
        producer = self._producer
        # Before the first record comes, the receiver has nothing to do.
        most = peer_limits.PIPELINE if self._began else 1
        while not producer.ended:
            self._began = trio.current_time()
            self._answered = trio.Event()
            with stalls.waiting_for(_SLOW_DISK):
                records = await trio.to_thread.run_sync(producer.next_records, most)
            self.report_problems()
            self._spared = producer.spared
            if records:
                return records
            if producer.stuck:
                with stalls.waiting_for(_SILENT_RECEIVER):
                    await self._answered.wait()
        return []

    def keep_pace(self, size: int) -> None:
        """Choose the length of the next chunks by the time that the last `size` bytes took."""
        self._producer.keep_pace(size, trio.current_time() - self._began)

    async def hear(self, message: Message) -> None:
        """Hand an answer over to the thread, and tell the observer what does not arrive."""
        match message:
            case Progress():
                self._resumption.delivered(message.size)
                self._observer.spared(self._spared)
                self._observer.progress(message.files, message.size, self._producer.path)
            case Reject() | Unwanted() | Holds() | SameSegments():
                if not self._producer.hear(message):
                    await trio.to_thread.run_sync(self._producer.catch_up)
                if isinstance(message, Holds | SameSegments):
                    self._answered.set()
                elif isinstance(message, Reject):
                    self._report_rejected(message)
            case _:
                raise AssertionError(f"the table lets no receiver say {type(message).__name__} here")

    def _report_rejected(self, message: Reject) -> None:
        if message.reason.is_failure:
            self._observer.problem(escape(message.path), SENTENCES[message.reason])
        elif message.reason not in {Reason.EXCLUDED, Reason.UNMADE}:
            self._observer.skipped(escape(message.path))

    def report_problems(self) -> None:
        """Tell the observer what cannot be sent."""
        for path, reason in self._producer.take_problems():
            self._observer.problem(path, SENTENCES[reason])

    async def count(self, counting: Callable[..., FileCount]) -> None:
        """Count what there is, for the progress line: at once if it is little, else after a while."""
        self._counting = counting(most=limits.COUNT_AT_ONCE)
        if not await trio.to_thread.run_sync(self._counting.run):
            await trio.sleep(limits.COUNT_AFTER)
            self._counting = counting()
            if not await trio.to_thread.run_sync(self._counting.run):
                return
        total = self._counting.counted
        self._producer.hear(Total(*total))
        self._resumption.counted(total[1])
        self._observer.total(*total)

    def stop_counting(self) -> None:
        """Let `count` end soon; it is not cancelled while its thread runs."""
        if self._counting is not None:
            self._counting.stop()


_SLOW_DISK: Final = "Nothing moves: the disk here has delivered no data"
_SILENT_RECEIVER: Final = (
    "Nothing moves: the receiver is looking for what it has already, or asks its user, and has not answered"
)
