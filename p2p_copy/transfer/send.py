"""One transfer as its sender tells it: meet, offer, send, hear the receipt, say goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files.selection import Selection
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.stdio import STANDARD, StandardInput
from p2p_copy.files.user_paths import as_path_if_any, as_paths, check_paths
from p2p_copy.observer import NoticeOnce, Observer, Report
from p2p_copy.options import LEAST_RATE, SendOptions, Symlinks
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.messages import Accept, Ask, Goodbye, Offer
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.lifecycle import SendJob, run_story, writing
from p2p_copy.transfer.preserve import flags, not_asked_for
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.transfer.stream.sender import PipeIn
from p2p_copy.transfer.tree.sender import TreeSender
from p2p_copy.transfer.verification import Verification, answer_time
from p2p_copy.transport.pacer import Pacer
from p2p_copy.value import replace
from p2p_copy.version import FULL_NAME, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike

    from p2p_copy.files.state.store import State
    from p2p_copy.files.stdio import Source
    from p2p_copy.observer import Verify
    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.lifecycle import Helpers


async def send(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    relays: Sequence[RelayAccess],
    code: Code | None,
    options: SendOptions = SendOptions(),
    *,
    state: State | None = None,
    observer: Observer | None = None,
    on_room: Callable[[str], None] | None = None,
    beside: Helpers = (),
    source: Callable[[str], Source] = StandardInput,
    verify: Verify | None = None,
) -> Report:
    """Send files and directories to the receiver with the same code at the same relay.

    Returns when the receiver has confirmed, under the session's key, that it holds what was sent. A report
    with failures means that some things did not arrive; the observer was told which.

    Args:
        paths: a file or directory of this machine, or several; their last components are the names at the receiver.
            Or the text "-" alone: what standard input brings, to its end.
        relays: which to use, at least one; both sides need one in common.
        code: the code that both sides share; None to resume with what `state` holds alone.
        options: how to send.
        state: what is saved of this transfer beyond this process; closed at the end, removed if all was delivered,
            or if it failed before there was anything to resume.
        observer: hears of each step.
        on_room: is called with each room of the relay in which both sides may meet, before the other side can be
            there. A program that also runs the relay needs it, to serve these rooms only (`RelayConfig.rooms`).
        beside: run beside the transfer and end with it; an error of one of them ends it, and the receiver is told that
            this side failed.
        source: makes what "-" reads from, given the name that it has at a receiver.
        verify: is shown two words, and answers whether the receiver shows the same ones, before anything is sent.

    Raises:
        NotVerified: a user did not confirm that both sides show the same words.
        NothingToSend: none of the paths can be sent, or one has no name of its own, as a root.
        ValueError, TypeError: an argument is out of range, or of the wrong type.
        UsageError: two paths have the same name; the receipt cannot be written, or exists; a pattern has the wrong
            form; or "-" is not alone.
        PipeFailed: the stream has ended early, or cannot be resumed.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    observer = observer or Observer()
    resumption = Resumption(state, options.patience, observer)
    story: _Story | None = None
    # A side that is stopped keeps its state even if all is delivered: the receiver may not know that.
    done = failed = False
    try:
        trees = SourceTrees(as_paths(paths), options.symlinks, Selection(options.only, options.exclude))
        pacer = Pacer(options.limit_rate)
        connect_options = ConnectOptions(
            Role.SENDER,
            relays,
            code,
            options.wait,
            observer,
            options.links,
            on_room,
            pacer=pacer,
            verifies=verify is not None,
        ).checked()
        over, tag = resumption.is_over, resumption.receipt_tag
        path = as_path_if_any(options.receipt)
        receipt = None
        if path is not None:
            from p2p_copy.files.receipts.receipt_file import receipt_file  # most transfers have none

            receipt = receipt_file(path, role="sender", program=FULL_NAME, over=over, tag=tag)
        story = _Story(SendJob(resumption, receipt, observer, beside, trees, options, source), pacer, verify)
        resumption.linger(limits.GOODBYE_LINGER, observer, _ALL_IS_THERE)
        if STANDARD not in trees.paths:
            for sentence in await trio.to_thread.run_sync(check_paths, trees.paths):
                observer.notice(sentence)
        if receipt is not None and not over:
            await resumption.begin()
            await trio.to_thread.run_sync(receipt.probe)
        helpers = story.pipe.read, resumption.save_progress, *beside
        report = await run_story(helpers, connect_options, resumption, story)
        done = True
        if receipt is not None:
            receipt.check()
        return report
    except Exception:
        failed = True
        raise
    finally:
        if story is not None:
            story.pipe.close()
        await resumption.close(done=done or resumption.is_stream or (failed and not resumption.is_of_use))


class _Story:
    """What a sender says and hears. Each conversation begins with the offer, and sends only what is missing.

    Attributes:
        tree: the files and directories to send.
        pipe: the stream to send instead.
        report: how the transfer ended, once the receiver has confirmed everything.
        broken: the error of what runs beside it.

    """

    def __init__(self, job: SendJob, pacer: Pacer, verify: Verify | None) -> None:
        self._preserve = flags(job.options.preserve)
        self._partial = not job.trees.selection.everything or job.options.symlinks is Symlinks.SKIP
        self._limit, self._pacer = job.options.limit_rate, pacer
        self._resumption = job.resumption
        self._verification = Verification(job.resumption, verify)
        self._receipt = job.receipt
        self._once = NoticeOnce(job.observer)
        self.tree = TreeSender(job)
        self.pipe = PipeIn(job)
        self.report = job.resumption.report
        self.broken: Exception | None = None

    async def run(self, channel: Channel, session: Session) -> Report:
        """Offer, send what the receiver does not have yet, hear its receipt, say goodbye."""
        conversation = Conversation(channel, session, Role.SENDER)
        if self.report is None:
            try:
                with plain_errors():
                    async with writing(self._receipt):
                        self.report = await self._deliver(conversation)
            except BaseException as error:
                cause = self.broken or error
                if isinstance(cause, Exception) or self.pipe.is_used:
                    last = self.pipe.last_words(cause)
                    self._resumption.reason_known = await conversation.part_ways(last)
                raise  # a tree that is stopped says no goodbye: it can be resumed, as after a loss
        await self._resumption.finish(self.report, limits.GOODBYE_LINGER)
        with trio.move_on_after(limits.GOODBYE_LINGER):  # all is delivered, even if the goodbye gets lost
            await conversation.tell(Goodbye())
            await conversation.channel.flush()  # if it gets lost, this side reconnects to repeat it
        return self.report

    async def _deliver(self, conversation: Conversation) -> Report:
        await self._verification.ask(conversation)
        await self._resumption.save_ticket(conversation.session, sure=False)
        accept = await self._offer(conversation)
        if accept.preserve & ~self._preserve:
            raise PeerMisbehaved("The receiver asks for more than it was offered.")
        self._once.notice(*not_asked_for(self._preserve & ~accept.preserve, "receiver"))
        conversation.channel.spread(accept.links)
        rate = self._lower_rate(accept.rate)
        self._pacer.limit(rate or None)
        await self._resumption.save_ticket(conversation.session, sure=True)
        report = await (self.pipe if accept.pipe else self.tree).send(
            conversation, replace(accept, rate=rate)
        )
        if self._receipt is not None:
            await trio.to_thread.run_sync(self._receipt.publish, report)
        return report

    def _lower_rate(self, theirs: int) -> int:
        """Return the rate that holds in a conversation: the lower limit of both sides, 0 for none."""
        limits_of_both = [rate for rate in (self._limit, theirs and max(theirs, LEAST_RATE)) if rate]
        return min(limits_of_both, default=0)

    async def _offer(self, conversation: Conversation) -> Accept:
        """Offer what there is, and show it if the receiver's user wants to see it first."""
        pipe = self.pipe.is_asked_for
        links = conversation.channel.plan.number
        await conversation.tell(Offer(PROGRAM, links, self._preserve, pipe, self._partial))
        answer: Accept | Ask = await conversation.expect(
            Accept,
            Ask,
            within=limits.OFFER_TIMEOUT + answer_time(conversation.session),
            silence="The receiver does not answer the offer.",
        )
        if isinstance(answer, Ask):
            answer = await (self.pipe if pipe else self.tree).show(conversation, answer)
        if pipe and not answer.pipe:
            raise PeerMisbehaved("The receiver answers the offer of a stream with something else.")
        return answer


_ALL_IS_THERE = "All was delivered and confirmed in an earlier run; only the receiver may not know that yet."
