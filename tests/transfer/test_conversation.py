"""A conversation: what is told is heard, in order and once, whatever is cancelled meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p_copy.errors import Declined, PeerFailed, PeerLost, PeerMisbehaved
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Ask,
    Entry,
    Goodbye,
    Kind,
    Message,
    Offer,
    Omitted,
    Preview,
    Reason,
    Total,
)
from p2p_copy.transfer import limits
from tests.support.memory_channel import channel, conversations
from tests.support.websocket import virtual_time

if TYPE_CHECKING:
    from p2p_copy.transfer.conversation import Conversation

OFFER = Offer("test/1")
ACCEPT = Accept("test/1", True)
SILENCE = "Nothing came."


async def expect(conversation: Conversation, *kinds: type[Message]) -> Message:
    return await conversation.expect(*kinds, within=10, silence=SILENCE)


async def agreed() -> tuple[Conversation, Conversation]:
    """Return both ends of a conversation in which the sender may send entries."""
    sender, receiver = conversations()
    await sender.tell(OFFER)
    assert await expect(receiver, Offer) == OFFER
    await receiver.tell(ACCEPT)
    assert await expect(sender, Accept, Ask) == ACCEPT
    return sender, receiver


async def test_what_is_told_is_heard_in_order_and_once() -> None:
    sender, receiver = await agreed()
    said = [Omitted(f"path {number}", Reason.UNREADABLE) for number in range(3 * limits.MESSAGES_A_TURN)]
    await sender.tell(*said[:40])
    await sender.tell(*said[40:])
    assert [await receiver.hear() for _ in said] == said


async def test_a_message_behind_the_expected_one_is_heard_next() -> None:
    """A sender that has counted all the while sends both in one record."""
    sender, receiver = conversations()
    await sender.tell(OFFER)
    await expect(receiver, Offer)
    await receiver.tell(Ask(portable_names=True))
    await expect(sender, Ask)
    preview, total = Preview(1, 2, False, 1, (Entry(Kind.FILE, 0, "file"),)), Total(3, 4)
    await sender.tell(preview, total)
    assert await expect(receiver, Preview) == preview
    assert await receiver.hear() == total


async def test_many_messages_in_one_record_leave_other_tasks_their_turn() -> None:
    sender, receiver = await agreed()
    said = [Omitted("path", Reason.UNREADABLE)] * (3 * limits.MESSAGES_A_TURN)
    await sender.tell(*said)
    heard = turns = 0

    async def hear() -> None:
        nonlocal heard
        while heard < len(said):
            await receiver.hear()
            heard += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        while heard < len(said):
            await trio.lowlevel.checkpoint()
            turns += 1
    assert turns >= 3


async def test_hearing_that_is_cancelled_loses_nothing() -> None:
    sender, receiver = await agreed()
    said = [Omitted(f"path {number}", Reason.UNREADABLE) for number in range(2 * limits.MESSAGES_A_TURN)]
    await sender.tell(*said)
    heard: list[Message] = []
    while len(heard) < len(said):
        with trio.CancelScope() as scope:
            scope.cancel()
            while True:
                heard.append(await receiver.hear())
        with trio.move_on_after(1):
            heard.append(await receiver.hear())
    assert heard == said


async def test_telling_that_is_cancelled_leaves_room_for_last_words() -> None:
    """A record that was cut would end the link, and the other side would never learn why."""
    sender, receiver = await agreed()
    channel(sender).may_send = trio.Event()
    omitted = Omitted("path", Reason.UNREADABLE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.tell, omitted)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        channel(sender).may_send.set()
    assert await sender.part_ways(Abort(Reason.OTHER, "last words"))
    assert await receiver.hear() == omitted
    with pytest.raises(PeerFailed, match="last words"):
        await receiver.hear()


async def test_last_words_follow_what_was_sealed_by_a_thread_that_has_failed() -> None:
    """The other side opens a record only in its place."""
    sender, receiver = await agreed()
    omitted = Omitted("path", Reason.UNREADABLE)

    def seal_and_fail() -> None:
        sender.session.say(omitted)
        sender.session.record()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await trio.to_thread.run_sync(seal_and_fail)
    assert await sender.part_ways(Abort(Reason.OTHER, "last words"))
    assert await receiver.hear() == omitted
    with pytest.raises(PeerFailed, match="last words"):
        await receiver.hear()


async def test_there_are_no_last_words_where_this_side_may_not_say_any() -> None:
    """Its own record may have been the last one, or the sealing of one may have failed."""
    sender, receiver = await agreed()
    await sender.tell(Abort(Reason.OTHER, "the first time"))
    assert not await sender.part_ways(Abort(Reason.OTHER, "the second time"))
    with pytest.raises(PeerFailed, match="the first time"):
        await receiver.hear()


@virtual_time()
async def test_silence_is_an_error_for_a_person() -> None:
    sender, _ = conversations()
    await sender.tell(OFFER)
    with pytest.raises(PeerLost, match=SILENCE):
        await expect(sender, Accept)


async def test_a_receiver_may_decline_before_it_has_accepted() -> None:
    sender, receiver = conversations()
    await sender.tell(OFFER)
    await expect(receiver, Offer)
    await receiver.tell(Abort(Reason.DECLINED, "no"))
    with pytest.raises(Declined):
        await expect(sender, Accept, Ask)


async def test_a_receiver_that_declines_later_has_failed() -> None:
    """Declined would mean that it has written nothing, and that the sender waits on with the same code."""
    sender, receiver = await agreed()
    await receiver.tell(Abort(Reason.DECLINED, "no"))
    with pytest.raises(PeerFailed):
        await sender.hear()


async def test_a_sender_has_failed_if_it_gives_up_before_its_offer() -> None:
    sender, receiver = conversations()
    await sender.tell(Abort(Reason.DECLINED, "no"))
    with pytest.raises(PeerFailed):
        await expect(receiver, Offer, Goodbye)


async def test_text_is_no_record() -> None:
    sender, receiver = await agreed()
    await channel(sender)._outgoing.send("text")  # type: ignore[arg-type]
    with pytest.raises(PeerMisbehaved):
        await receiver.hear()
