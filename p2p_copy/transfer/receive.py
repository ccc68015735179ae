"""One transfer as its receiver tells it: meet, accept, write what comes, give the receipt, hear the goodbye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import Declined, NotVerified, P2PCopyError, PeerMisbehaved, UsageError
from p2p_copy.files.attributes import allowed_permissions
from p2p_copy.files.selection import Selection
from p2p_copy.files.state.journal import load_library
from p2p_copy.files.stdio import StandardOutput
from p2p_copy.files.user_paths import as_path, as_path_if_any
from p2p_copy.observer import NoticeOnce, Observer, Report
from p2p_copy.options import Conflict, ReceiveOptions
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.meeting import ConnectOptions
from p2p_copy.protocol.messages import Accept, Goodbye, Offer
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.confirm import Question
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.lifecycle import ReceiveJob, run_story
from p2p_copy.transfer.preserve import not_asked_for, wanted
from p2p_copy.transfer.resumption import Resumption
from p2p_copy.transfer.stream.receiver import PipeOut
from p2p_copy.transfer.tree.receiver import TreeReceiver
from p2p_copy.transfer.verification import Verification, answer_time
from p2p_copy.transport.pacer import Pacer
from p2p_copy.value import replace
from p2p_copy.version import FULL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from p2p_copy.files.state.store import State
    from p2p_copy.files.stdio import Sink
    from p2p_copy.observer import Ask, AskDelete, AskReplace, Verify
    from p2p_copy.options import RelayAccess
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.lifecycle import Helpers


async def receive(
    out: str | PathLike[str],
    relays: Sequence[RelayAccess],
    code: Code | None,
    options: ReceiveOptions = ReceiveOptions(),
    *,
    state: State | None = None,
    ask: Ask | None = None,
    ask_delete: AskDelete | None = None,
    ask_replace: AskReplace | None = None,
    observer: Observer | None = None,
    beside: Helpers = (),
    sink: Callable[[], Sink] = StandardOutput,
    verify: Verify | None = None,
) -> Report:
    """Receive what the sender with the same code at the same relay has, into the directory `out`.

    Returns when all that was sent is verified and has its names, and the sender knows. A report with failures means
    that some entries did not arrive; the observer hears which. Nothing is ever written outside `out`, and no name ever
    leads to half a file.

    Args:
        out: the directory; made if it does not exist. Or the text "-": standard output, for a sender of a stream or of
            one file.
        relays: which to use, at least one; both sides need one in common.
        code: the code that both sides share; None to resume with what `state` holds alone.
        options: how to receive. Group and others get no more permissions than the umask of this process allows, unless
            MODE or OWNER is preserved.
        state: what is saved of this transfer beyond this process; closed at the end, removed if all has arrived.
        ask: is shown what would come, and answers whether to receive it, before anything is written. If the user
            declines, the sender waits on with the same code. Resuming a transfer does not ask again.
        ask_delete: is shown what the sender does not have, after everything has arrived, if `options.delete` says so;
            answers whether to delete it. Without it that is deleted without a question.
        ask_replace: is asked about each file that exists already, with `Conflict.ASK`; again after a lost connection if
            it is not replaced yet.
        observer: hears of each step.
        beside: run beside the transfer and end with it; an error of one of them ends it, and the sender is told that
            this side failed.
        sink: opens standard output for "-".
        verify: is shown two words, and answers whether the sender shows the same ones, before anything is written.

    Raises:
        NotVerified: a user did not confirm that both sides show the same words.
        Declined: this side's user declined.
        OutputNotWritable: `out` cannot be written to.
        ValueError, TypeError: an argument is out of range, or of the wrong type.
        UsageError: the receipt cannot be written, or exists; a pattern has the wrong form; there is no standard output;
            or owners are to be preserved and this user is not root.
        PipeFailed: the stream has ended early, or cannot be resumed.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    observer = observer or Observer()
    resumption = Resumption(state, options.patience, observer)
    story: _Story | None = None
    # A side that is stopped keeps its state even if all is here: the sender may not know that.
    done = failed = False
    try:
        if options.conflict is Conflict.ASK and ask_replace is None:
            raise UsageError("To ask what to do with files that exist already, there must be someone to ask.")
        preserve, selection = wanted(options.preserve), Selection(options.only, options.exclude)
        pacer = None if options.limit_rate is None else Pacer(options.limit_rate)
        connect_options = ConnectOptions(
            Role.RECEIVER,
            relays,
            code,
            options.wait,
            observer,
            options.links,
            pacer=pacer,
            verifies=verify is not None,
        ).checked()
        out_path, receipt_path = as_path(out), as_path_if_any(options.receipt)
        allowed = await trio.to_thread.run_sync(allowed_permissions, options.preserve)
        over, tag = resumption.is_over, resumption.receipt_tag
        receipt = None
        if receipt_path is not None:
            from p2p_copy.files.receipts.receipt_file import receipt_file  # most transfers have none

            receipt = receipt_file(
                receipt_path, role="receiver", program=FULL_NAME, over=over, tag=tag, allowed=allowed
            )
        job = ReceiveJob(
            resumption,
            receipt,
            observer,
            beside,
            out_path,
            options,
            selection,
            preserve,
            allowed,
            sink,
            ask_delete,
            ask_replace,
        )
        story = _Story(job, ask, verify)
        resumption.linger(limits.RESTART_LINGER, observer, _ALL_IS_HERE)
        if not over and story.begun:
            await story.probe()
        load_library()  # now, since the sender may not be there yet
        helpers = story.pipe.write, resumption.save_progress, *beside
        report = await run_story(helpers, connect_options, resumption, story)
        done = True
        if receipt is not None:
            receipt.check()
        return report
    except Exception:
        failed = True
        raise
    finally:
        with trio.CancelScope(shield=True):  # bounded: it removes one part at most
            if story is not None:
                await trio.to_thread.run_sync(story.clean_up)
            begun = story is not None and story.begun
            untouched = (failed or not begun) and not resumption.is_of_use
            await resumption.close(done=done or untouched or resumption.is_stream)


class _Story:
    """What a receiver says and hears. Each conversation begins with the offer, and brings only what is missing.

    Attributes:
        pipe: the stream to receive, if the sender has one.
        report: how the transfer ended, once everything is here and confirmed.
        begun: the user wants it, or need not be asked; nothing is written before.
        broken: the error of what runs beside it.

    """

    def __init__(self, job: ReceiveJob, ask: Ask | None, verify: Verify | None) -> None:
        self._job = job
        self._verification = Verification(job.resumption, verify)
        self._question = None if ask is None else Question(job, ask)
        self._once = NoticeOnce(job.observer)
        self._tree = TreeReceiver(job)
        self.pipe = PipeOut(job)
        self.begun = (ask is None and verify is None) or job.resumption.has_ticket
        self.report = job.resumption.report
        self.broken: Exception | None = None

    async def probe(self) -> None:
        """Check that the output can be written, before anything is sent."""
        await self._job.resumption.begin()
        await trio.to_thread.run_sync(self._probe)

    def _probe(self) -> None:
        if not self.pipe.is_asked_for:
            self._tree.target().close()
        if self._job.receipt is not None:  # it may lie in the output directory, which exists only now
            self._job.receipt.probe()

    def clean_up(self) -> None:
        """Throw away what is not complete and cannot be resumed; in a worker thread."""
        self.pipe.close()
        if (
            self.report is None
            and self.begun
            and not self.pipe.is_asked_for
            and not self._job.resumption.is_saved
        ):
            self._tree.leave_nothing()

    async def run(self, channel: Channel, session: Session) -> Report:
        """Hear the offer, take what is not here yet, give the receipt, hear the goodbye."""
        conversation = Conversation(channel, session, Role.RECEIVER)
        try:
            with plain_errors():
                if self.report is None:
                    await self._verification.ask(conversation)
                offer = await self._hear_offer(conversation)
                if offer is not None:
                    await self._ask(conversation, offer)
                    await self._receive(conversation, offer)
        except BaseException as error:
            cause = self.broken or error
            foreseen = isinstance(cause, P2PCopyError) or not isinstance(cause, Exception)  # and not a bug
            refused = not self.begun and foreseen and not isinstance(cause, PeerMisbehaved | NotVerified)
            last = self.pipe.last_words(Declined() if refused else cause)
            self._job.resumption.reason_known = await conversation.part_ways(last)
            raise
        assert self.report is not None, "everything is here, since now or before"
        return self.report

    async def _hear_offer(self, conversation: Conversation) -> Offer | None:
        """Hear what the sender offers; None if it only says that it has the receipt of an earlier conversation."""
        first: Offer | Goodbye = await conversation.expect(
            Offer,
            Goodbye,
            within=limits.OFFER_TIMEOUT + answer_time(conversation.session),
            silence="The sender is connected but offers nothing.",
        )
        if isinstance(first, Goodbye):
            if self.report is None:
                raise PeerMisbehaved("The sender says that the transfer is complete, but it is not.")
            return None
        self._once.notice(*not_asked_for(self._job.preserve & ~first.preserve, "sender"))
        return first

    async def _ask(self, conversation: Conversation, offer: Offer) -> None:
        """Let the user decide, once, and check that the output can be written."""
        if self.begun:
            return
        if self._question is not None:
            await self._question.put(conversation, stream=offer.pipe)
        await self.probe()
        self.begun = True
        self._job.observer.accepted()

    async def _receive(self, conversation: Conversation, offer: Offer) -> None:
        """Accept the offer, and receive a stream or a tree until the sender has the receipt."""

        async def accept(answer: Accept) -> None:
            await self._job.resumption.save_ticket(conversation.session, sure=True)
            links = conversation.channel.plan.agree(offer.links)
            rate = self._job.options.limit_rate or 0
            await conversation.tell(replace(answer, links=links, rate=rate))
            conversation.channel.spread(links)

        if offer.pipe or self.pipe.is_asked_for:
            await self.pipe.receive(conversation, self._tree.target, accept, self._confirm)
        else:
            await self._tree.receive(conversation, offer, accept, self._confirm)

    async def _confirm(self, report: Report) -> None:
        """Save that everything is here: only the sender's goodbye is missing from now on."""
        if self._job.receipt is not None:
            await trio.to_thread.run_sync(self._job.receipt.publish, report)
        self.report = report
        await self._job.resumption.finish(report, limits.RECEIPT_LINGER)


_ALL_IS_HERE = "All was received and verified in an earlier run; only the sender may not know that yet."
