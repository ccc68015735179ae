"""The story of one receive: meet, accept, write what comes, give the receipt, hear the goodbye."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from p2p_copy import limits
from p2p_copy.errors import PeerFailed, PeerLost
from p2p_copy.files.target import Target
from p2p_copy.incoming import Incoming
from p2p_copy.meet import LINK_ERRORS, meet, plain_errors
from p2p_copy.observe import Observer, Report
from p2p_copy.options import Conflict, Names
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import Abort, Accept, Offer
from p2p_copy.protocol.names import shown
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.reasons import SENTENCES, farewell
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from p2p_copy.link import Link
    from p2p_copy.protocol.code import Code
    from p2p_copy.protocol.session import Session


async def receive(
    out: str,
    *,
    relay: str,
    code: Code,
    conflict: Conflict = Conflict.REFUSE,
    names: Names = Names.PORTABLE,
    max_size: int | None = None,
    wait: float = limits.PEER_WAIT,
    ca_file: str | None = None,
    token: str | None = None,
    observer: Observer | None = None,
) -> Report:
    """Receive what the sender with the same code at the same relay has, into the directory `out`.

    Returns when all that was sent lies verified under its names, and the sender knows. A report with
    failures means that some things did not arrive; the observer was told which. Nothing is ever written
    outside `out`, and no name ever holds half a file.

    Args:
        out: the directory; made if it does not exist.
        relay: address of the relay, ws:// or wss://.
        code: the code that both sides share.
        conflict: what to do when a name exists already.
        names: which names to accept.
        max_size: most bytes of all files together; None for what fits on the disk.
        wait: seconds to wait for the sender.
        ca_file: PEM file with certificates to trust besides the system's.
        token: access token, for relays that want one. It is not sent where others could read it (ws://).
        observer: is told how it goes.

    Raises:
        OutputNotWritable: `out` cannot be written to.
        P2PCopyError: see `p2p_copy.errors`; the transfer did not happen or is not complete.

    """
    watcher = observer or Observer()
    target = await trio.to_thread.run_sync(lambda: Target(out, conflict=conflict))
    try:
        with plain_errors():
            async with meet(
                Role.RECEIVER, relay, code, wait=wait, ca_file=ca_file, token=token, observer=watcher
            ) as met:
                link, session = met
                began = time.monotonic()
                manifest = Manifest(portable=names is Names.PORTABLE, key=os.urandom(16))
                incoming = Incoming(target, session, manifest, max_size=max_size)
                try:
                    with plain_errors():
                        await _accept(link, session, names)
                        await _write_all(link, incoming, watcher)
                except BaseException as error:
                    await _part_ways(link, session, error)
                    raise
                assert incoming.root is not None, "all was written, so there is a root digest"
                return Report(
                    files=incoming.files,
                    size=incoming.delivered,
                    failures=incoming.failures,
                    skipped=incoming.skipped,
                    root=incoming.root.hex(),
                    seconds=time.monotonic() - began,
                )
    finally:
        with trio.CancelScope(shield=True):  # bounded: it unlinks at most one part and closes descriptors
            await trio.to_thread.run_sync(target.close)


async def _accept(link: Link, session: Session, names: Names) -> None:
    with trio.move_on_after(limits.OFFER_TIMEOUT) as deadline:
        for message in session.hear(await link.receive()):
            match message:
                case Offer():
                    session.say(Accept(PROGRAM, names is Names.PORTABLE))
                case Abort():
                    raise PeerFailed(f"The sender gave up: {shown(message.sentence)}")
                case _:
                    raise AssertionError("the table lets no sender say anything else here")
    if deadline.cancelled_caught:
        raise PeerLost("The sender is connected but offers nothing.")
    await link.send(session.record())


async def _write_all(link: Link, incoming: Incoming, observer: Observer) -> None:
    """Take records from the link while earlier ones are being written; end when the sender knows."""

    async def fetch(records: trio.MemorySendChannel[bytes | str]) -> None:
        with records:
            while True:
                try:
                    await records.send(await link.receive())
                except LINK_ERRORS as error:
                    if incoming.root is None:
                        raise
                    del error  # all is verified and the receipt is out: the goodbye is a courtesy
                    return

    from_link, to_disk = trio.open_memory_channel[bytes | str](limits.PIPELINE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch, from_link)
        while not incoming.goodbye:
            limit = limits.GOODBYE_TIMEOUT if incoming.root is not None else float("inf")
            with trio.move_on_after(limit) as deadline:
                try:
                    records = [await to_disk.receive()]
                except trio.EndOfChannel:
                    return  # the fetcher is through, or brings the error out itself
            if deadline.cancelled_caught:
                break
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while len(records) < limits.PIPELINE:
                    records.append(to_disk.receive_nowait())
            answers = await trio.to_thread.run_sync(incoming.take, records, trio.current_time())
            _tell(incoming, observer)
            for answer in answers:
                await _send_whole(link, answer)
        nursery.cancel_scope.cancel()


async def _send_whole(link: Link, record: bytes) -> None:
    """Send a record to its end even if this side is stopped meanwhile, for a bounded time.

    A send that is cut ends the link, and then nobody could tell the sender why this side ends.
    """
    async with trio.open_nursery() as nursery:
        sending = trio.CancelScope(shield=True)

        async def send() -> None:
            with sending:
                await link.send(record)
            nursery.cancel_scope.cancel()

        nursery.start_soon(send)
        try:
            await trio.sleep_forever()
        finally:
            sending.deadline = trio.current_time() + limits.GOODBYE_TIMEOUT


def _tell(incoming: Incoming, observer: Observer) -> None:
    problems, incoming.problems = incoming.problems, []
    for path, reason in problems:
        if reason.is_failure:
            observer.problem(path, SENTENCES[reason])
        else:
            observer.skipped(path)
    if incoming.total is not None:
        observer.total(*incoming.total)
        incoming.total = None
    observer.progress(incoming.files, incoming.size)


async def _part_ways(link: Link, session: Session, error: BaseException) -> None:
    """Tell the sender why this side ends, if it can still be told; never in the way of the error itself."""
    with trio.move_on_after(limits.GOODBYE_TIMEOUT, shield=True):
        try:
            session.say(farewell(error))
            await link.send(session.record())
            await link.aclose()
        except (AssertionError, *LINK_ERRORS):
            return  # the conversation is over already
