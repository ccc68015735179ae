"""Receives files and directories: the part on the event loop, beside the thread that acts on records."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.files.target.extraneous import Protected
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.observer import Deletion, NoticeOnce
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Accept
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import receive_until_goodbye
from p2p_copy.transfer.lifecycle import writing
from p2p_copy.transfer.preserve import LOST, not_possible
from p2p_copy.transfer.reasons import SENTENCES
from p2p_copy.transfer.stalls import Stalls, nothing_comes_from_sender
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transport.link import LinkBroken
from p2p_copy.transport.timeouts import within
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.files.target.extraneous import Extraneous
    from p2p_copy.observer import Report
    from p2p_copy.protocol.manifest import Item
    from p2p_copy.protocol.messages import Offer, Preserved
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.lifecycle import ReceiveJob


class TreeReceiver:
    """The files and directories of one transfer, received in one conversation after another."""

    def __init__(self, job: ReceiveJob) -> None:
        self._job = job
        self._once = NoticeOnce(job.observer)

    def target(self) -> Target:
        """Open the output directory, which is made if it does not exist.

        Raises:
            OutputNotWritable: that is not possible.

        """
        job, resumption = self._job, self._job.resumption
        delete = Protected(job.selection, resumption.state_directories) if job.options.delete else None
        resume = ResumeIndex(
            resumption.journal,
            reverify=job.options.reverify,
            restarted=resumption.restarted,
            tag=resumption.tag,
        )
        return Target(
            job.out,
            conflict=job.options.conflict,
            checksum=job.options.checksum,
            delete=delete,
            resume=resume,
            allowed=job.allowed,
        )

    def leave_nothing(self) -> None:
        """Remove the partial files of a transfer that cannot be resumed."""
        with suppress(P2PCopyError):
            target = self.target()
            target.remove_orphans()
            target.close()

    async def receive(
        self,
        conversation: Conversation,
        offer: Offer,
        accept: Callable[[Accept], Awaitable[None]],
        confirm: Callable[[Report], Awaitable[None]],
    ) -> None:
        """Receive what this side does not have yet.

        Args:
            conversation: the conversation with the sender.
            offer: what the sender offers.
            accept: sends this answer to the sender's offer.
            confirm: is called with the report when this side has everything, before the sender gets the receipt.

        Raises:
            P2PCopyError, LinkBroken, EndOfStream: see `receive_until_goodbye`.

        """
        job = self._job
        target, possible, marker = await trio.to_thread.run_sync(self._open)
        self._once.notice(*not_possible(job.preserve & ~possible))
        portable, preserve = job.options.portable_names, possible & offer.preserve
        settled = self._add_to_receipt if job.receipt is not None else None
        manifest = Manifest(portable=portable, key=os.urandom(16), settled=settled, preserve=preserve)
        stalls = Stalls(job.observer, conversation.channel)
        consumer = TreeConsumer(
            target,
            conversation.session,
            manifest,
            max_size=job.options.max_size,
            max_files=job.options.max_files,
            selection=job.selection,
            may_replace=None if job.ask_replace is None else partial(self._may_replace, stalls),
            unmade=self._correct_receipt,
        )
        deleting = _Deleting(job, target.extraneous, stalls, partial=offer.partial)
        receiving = _TreeReceiving(job, consumer, conversation, stalls, confirm, deleting)
        try:
            async with writing(job.receipt), trio.open_nursery() as nursery:
                await accept(Accept(PROGRAM, portable, consumer.holds, preserve=preserve, marker=marker))
                nursery.start_soon(receiving.report_progress)
                await receive_until_goodbye(conversation, receiving, stalls)
                nursery.cancel_scope.cancel()
            if target.attributes_lost:
                self._once.notice(LOST)
        finally:
            with trio.CancelScope(shield=True):  # bounded: it flushes or unlinks one part
                lasts = job.resumption.lasts and not consumer.goodbye
                await trio.to_thread.run_sync(partial(target.close, keep=lasts))

    def _may_replace(self, stalls: Stalls, path: str) -> bool:
        """Ask, out of a worker thread, whether to replace something; the event loop goes on meanwhile."""

        async def ask() -> bool:
            assert self._job.ask_replace is not None, "else this is not called"
            with stalls.asking():
                return await self._job.ask_replace(path)

        return trio.from_thread.run(ask)

    def _open(self) -> tuple[Target, Preserved, str]:
        """Open the target; return it, the wanted attributes that it can preserve, and the name of its marker."""
        target = self.target()
        target.resume.mark_running()
        return target, target.supported(self._job.preserve), target.marker.create()

    def _add_to_receipt(self, item: Item) -> None:
        assert self._job.receipt is not None, "else this is not called"
        self._job.receipt.add(item.published_path, item.entry, item.digest, delivered=not item.refused)

    def _correct_receipt(self, index: int) -> None:
        """Count a directory that was not made, which is known only after everything in it."""
        if self._job.receipt is not None:
            self._job.receipt.undeliver(index)


class _TreeReceiving:
    """Has a thread act on the records of one conversation, and tells the observer; see `conversation.Consumer`.

    Attributes:
        confirmed: the receipt is given.

    """

    def __init__(
        self,
        job: ReceiveJob,
        consumer: TreeConsumer,
        conversation: Conversation,
        stalls: Stalls,
        confirm: Callable[[Report], Awaitable[None]],
        deleting: _Deleting,
    ) -> None:
        self._deleting = deleting
        self._resumption = job.resumption
        self._observer = job.observer
        self._consumer = consumer
        self._conversation = conversation
        self._stalls = stalls
        self._confirm = confirm
        self._here = 0, 0, 0  # bytes spared, files, bytes: as the thread left them last
        self._moved = trio.Event()  # set while the observer has not been told of `_here`
        self.confirmed = False

    @property
    def goodbye(self) -> bool:
        """Whether the sender has the receipt."""
        return self._consumer.goodbye

    def nothing_comes(self) -> str:
        """Name the party because of which no record comes."""
        in_message = self._conversation.channel.under_way > 0
        return nothing_comes_from_sender(self._stalls.flow, in_message=in_message)

    async def heartbeat(self) -> None:
        """Let the sender know that this side is there, and how much it has."""
        self._consumer.heartbeat()
        await self._send()

    async def consume(self, records: list[bytes | str]) -> None:
        """Have the thread act on the next records, and send its answers; give the receipt when all is here."""
        consumer = self._consumer
        with self._stalls.waiting_for(_SLOW_DISK):
            await trio.to_thread.run_sync(consumer.consume, records, trio.current_time())
        self._report_problems()
        self._here = consumer.outcomes.spared, consumer.outcomes.files, consumer.outcomes.size
        self._moved.set()
        await self._send()
        if consumer.ending:
            with self._stalls.waiting_for(_SLOW_DISK):
                await trio.to_thread.run_sync(consumer.verify)
                await self._delete()
                await trio.to_thread.run_sync(consumer.finish)
                await self._confirm(consumer.report(self._resumption.seconds))
            await self._send()
            self.confirmed = True

    async def _delete(self) -> None:
        """Delete what the sender does not have, and let the sender know meanwhile that this side is there."""

        async def stay() -> None:
            while True:
                await trio.sleep(limits.HEARTBEAT)
                await self.heartbeat()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            consumer, outcomes = self._consumer, self._consumer.outcomes
            outcomes.deleted, failed = await self._deleting.run(
                complete=consumer.is_complete, uncertain=consumer.is_uncertain
            )
            outcomes.failures += failed
            nursery.cancel_scope.cancel()

    async def _send(self) -> None:
        with suppress(LinkBroken):  # the next receive says why
            await self._conversation.send()

    async def report_progress(self) -> None:
        """Tell the observer how much is here, less often than records come; at the end once more."""
        try:
            while True:
                await self._moved.wait()
                self._tell_progress()
                await trio.sleep(limits.OBSERVER_INTERVAL)
        finally:
            if self._moved.is_set():
                self._tell_progress()

    def _tell_progress(self) -> None:
        self._moved = trio.Event()
        spared, files, size = self._here
        self._resumption.delivered(size)
        self._observer.spared(spared)
        self._observer.progress(files, size, self._consumer.path)

    def _report_problems(self) -> None:
        consumer, observer = self._consumer, self._observer
        for path, reason in consumer.outcomes.take_problems():
            if reason.is_failure:
                observer.problem(path, SENTENCES[reason])
            else:
                observer.skipped(path)
        if consumer.total is not None:
            self._resumption.counted(consumer.total[1])
            observer.total(*consumer.total)
            consumer.total = None


class _Deleting:
    """Deletes the `extraneous` entries once all is here, if the user wants that."""

    def __init__(
        self, job: ReceiveJob, extraneous: Extraneous | None, stalls: Stalls, *, partial: bool
    ) -> None:
        self._stalls = stalls
        self._observer = job.observer
        self._ask = job.ask_delete
        self._extraneous = extraneous
        self._partial = partial

    async def run(self, *, complete: bool, uncertain: bool) -> tuple[int, int]:
        """Delete them, unless the transfer was not `complete`; return how many were deleted, and how many could not be.

        Nothing is deleted after a cancellation, or if it is `uncertain` what the sender has.
        """
        extraneous = self._extraneous
        if extraneous is None:
            return 0, 0
        if not complete:
            self._observer.notice("Nothing was deleted here, because not everything was delivered.")
            return 0, 0
        if self._partial:
            self._observer.notice(_PARTIAL)
            return 0, 0
        if uncertain:
            self._observer.notice(_UNCERTAIN)
            return 0, 0
        if not await trio.to_thread.run_sync(extraneous.is_whole):
            self._observer.notice(_LOST)
            return 0, 0
        deleted = failed = 0
        if extraneous.count and await self._is_wanted(extraneous):
            deleted, failed = await self._delete(extraneous)
        if extraneous.alike:
            self._observer.notice(_stay(extraneous.alike, extraneous.first_alike))
        return deleted, failed

    async def _delete(self, extraneous: Extraneous) -> tuple[int, int]:
        deleted = failed = 0
        found = extraneous.delete(trio.from_thread.check_cancelled)
        while some := await trio.to_thread.run_sync(lambda: list(islice(found, limits.DELETE_AT_ONCE))):
            for path, problem in some:
                if problem:
                    failed += 1
                    self._observer.problem(path, problem)
                else:
                    deleted += 1
                    self._observer.deleted(path)
        return deleted, failed

    async def _is_wanted(self, extraneous: Extraneous) -> bool:
        if self._ask is None:
            return True
        yes: bool | None = None
        with within(limits.DELETE_TIMEOUT), self._stalls.asking():
            yes = await self._ask(Deletion(extraneous.count, tuple(extraneous.first)))
        if yes is None:
            self._observer.notice("Nothing was deleted here: the question was not answered in time.")
        elif not yes:
            self._observer.notice("Nothing was deleted here.")
        return bool(yes)


def _stay(count: int, first: list[str]) -> str:
    more = f", and {count - len(first):,} more" if count > len(first) else ""
    return (
        "Not deleted, because the sender has the same name but for upper and lower case or the form of its accents: "
        f"{', '.join(first)}{more}."
    )


_PARTIAL: Final = (
    "Nothing was deleted here: the sender leaves out some of what it has, and does not say what. Leave it out here, "
    "with `exclude`, and not there."
)

_UNCERTAIN: Final = (
    "Nothing was deleted here: the sender has something that it cannot send, with a name that patterns here may "
    "not match. Rename or remove it there."
)

_LOST: Final = (
    "Nothing was deleted here: the list of what to delete did not fit into the directory for temporary files."
)

_SLOW_DISK: Final = "Nothing moves: the disk here has taken nothing"
