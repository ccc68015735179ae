"""The story of one send: meet, offer, stream, hear the receipt, say goodbye."""

from __future__ import annotations

import itertools
import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy import limits
from p2p_copy.errors import NothingToSend, PeerFailed, PeerLost, PeerMisbehaved
from p2p_copy.files import source
from p2p_copy.files.counting import count
from p2p_copy.link import LinkBroken
from p2p_copy.meet import LINK_ERRORS, meet, plain_errors
from p2p_copy.observe import Observer, Report
from p2p_copy.options import Links
from p2p_copy.outgoing import Outgoing
from p2p_copy.protocol.messages import Abort, Accept, Goodbye, Message, Offer, Progress, Receipt, Reject
from p2p_copy.protocol.names import shown
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.reasons import SENTENCES
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.link import Link
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.session import Session


async def send(
    paths: Sequence[str],
    *,
    relay: str,
    code: Code,
    links: Links = Links.KEEP,
    wait: float = limits.PEER_WAIT,
    ca_file: str | None = None,
    token: str | None = None,
    observer: Observer | None = None,
) -> Report:
    """Send files and directories to whoever receives with the same code at the same relay.

    Returns when the receiver has confirmed, under the session's key, that it holds what was sent. A report
    with failures means that some things did not arrive; the observer was told which.

    Args:
        paths: files and directories of this machine; their last components are the names at the receiver.
        relay: address of the relay, ws:// or wss://.
        code: the code that both sides share.
        links: what to do with symbolic links inside a directory.
        wait: seconds to wait for the receiver.
        ca_file: PEM file with certificates to trust besides the system's.
        token: access token, for relays that want one. It is not sent where others could read it (ws://).
        observer: is told how it goes.

    Raises:
        NothingToSend: none of the paths exists.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    watcher = observer or Observer()
    if not source.any_exists(paths):
        raise NothingToSend()
    with plain_errors():
        async with meet(
            Role.SENDER, relay, code, wait=wait, ca_file=ca_file, token=token, observer=watcher
        ) as (
            link,
            session,
        ):
            began = time.monotonic()
            accept = await _offer(link, session)
            outgoing = Outgoing(paths, session, links=links, portable_names=accept.portable_names)
            receipt = await _stream(link, session, outgoing, paths, links, watcher)
            session.say(Goodbye())
            with suppress(*LINK_ERRORS):  # a courtesy: all is delivered, and we know it
                await link.send(session.record())
            return Report(
                files=receipt.files,
                size=receipt.size,
                failures=outgoing.failures + receipt.rejected,
                skipped=receipt.skipped,
                root=receipt.root.hex(),
                seconds=time.monotonic() - began,
            )


async def _offer(link: Link, session: Session) -> Accept:
    session.say(Offer(PROGRAM))
    await link.send(session.record())
    with trio.move_on_after(limits.OFFER_TIMEOUT):
        for message in session.hear(await link.receive()):
            match message:
                case Accept():
                    return message
                case Abort():
                    raise _given_up(message)
                case _:
                    raise AssertionError("the table lets no receiver say anything else here")
        raise PeerMisbehaved("The other side answered with nothing.")
    raise PeerLost("The receiver does not answer the offer.")


async def _stream(
    link: Link, session: Session, outgoing: Outgoing, paths: Sequence[str], links: Links, observer: Observer
) -> Receipt:
    """Send all records while listening to the receiver; return its receipt, checked."""
    stop_counting = False
    patience = trio.CancelScope()  # without limit while the disk here sets the pace

    async def count_all() -> None:
        look = partial(count, paths, links=links, portable_names=outgoing.portable_names)
        passed = itertools.count()
        total = await trio.to_thread.run_sync(partial(look, stop=lambda: next(passed) > limits.COUNT_AT_ONCE))
        if total is None:
            await trio.sleep(limits.COUNT_AFTER)
            total = await trio.to_thread.run_sync(partial(look, stop=lambda: stop_counting))
        if total is not None:
            outgoing.total = total
            observer.total(*total)

    async def produce(records: trio.MemorySendChannel[bytes]) -> None:
        with records:
            began = trio.current_time()
            while made := await trio.to_thread.run_sync(outgoing.next_records, limits.PIPELINE):
                _tell_problems(outgoing, observer)
                for record in made:
                    try:
                        await records.send(record)
                    except trio.BrokenResourceError:
                        return  # nothing is transmitted any more; the listener learns why
                now = trio.current_time()
                outgoing.keep_pace(sum(map(len, made)), now - began)
                began = now

    async def transmit(records: trio.MemoryReceiveChannel[bytes]) -> None:
        with records:
            try:
                async for record in records:
                    await link.send(record)
            except LinkBroken:
                return  # the listener learns why, perhaps from the receiver's own last words
        patience.deadline = trio.current_time() + limits.RECEIPT_TIMEOUT
        observer.verifying()

    to_wire, from_disk = trio.open_memory_channel[bytes](limits.PIPELINE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_all)
        nursery.start_soon(produce, to_wire)
        nursery.start_soon(transmit, from_disk)
        try:
            receipt = await _listen(link, session, outgoing, patience, observer)
        finally:
            stop_counting = True
            nursery.cancel_scope.cancel()
    _check(receipt, outgoing)
    return receipt


def _tell_problems(outgoing: Outgoing, observer: Observer) -> None:
    problems, outgoing.problems = outgoing.problems, []
    for path, reason in problems:
        observer.problem(path, SENTENCES[reason])


async def _listen(
    link: Link, session: Session, outgoing: Outgoing, patience: trio.CancelScope, observer: Observer
) -> Receipt:
    with patience:
        while True:
            record = await link.receive()
            if patience.deadline < math.inf:
                patience.deadline = trio.current_time() + limits.RECEIPT_TIMEOUT
            for message in session.hear(record):
                if isinstance(message, Receipt):
                    return message
                _note(message, outgoing, observer)
    raise PeerLost("The receiver has everything, but does not confirm it.")


def _note(message: Message, outgoing: Outgoing, observer: Observer) -> None:
    match message:
        case Progress():
            observer.progress(message.files, message.size)
        case Reject():
            outgoing.reject(message.index, message.reason)
            if message.reason.is_failure:
                observer.problem(shown(message.path), SENTENCES[message.reason])
            else:
                observer.skipped(shown(message.path))
        case Abort():
            raise _given_up(message)
        case _:
            raise AssertionError("the table lets no receiver say anything else here")


def _check(receipt: Receipt, outgoing: Outgoing) -> None:
    """Hold the receipt against what was sent: a receiver that lost something must not look like success."""
    refused = (outgoing.rejections, outgoing.skips)
    adds_up = receipt.files <= outgoing.files and receipt.size <= outgoing.size
    if not any(refused):
        adds_up = (receipt.files, receipt.size) == (outgoing.files, outgoing.size)
    if receipt.root != outgoing.root or (receipt.rejected, receipt.skipped) != refused or not adds_up:
        raise PeerMisbehaved("The receiver confirmed something else than what was sent.")


def _given_up(message: Abort) -> PeerFailed:
    return PeerFailed(f"The receiver gave up: {shown(message.sentence)}")
