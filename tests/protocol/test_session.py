from __future__ import annotations

import sys
from threading import Thread

import pytest

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import wire
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Data,
    Entry,
    Finish,
    Kind,
    Message,
    Offer,
    Page,
    Progress,
    Reason,
    Receipt,
    Total,
)
from p2p_copy.protocol.records import Sealer
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.session import Session
from p2p_copy.transfer import limits
from tests.support.keys import both_keys, both_sessions


def talking() -> tuple[Session, Session]:
    sender, receiver = both_sessions()
    sender.say(Offer("s"))
    assert receiver.hear(sender.record()) == [Offer("s")]
    receiver.say(Accept("r", True))
    assert sender.hear(receiver.record()) == [Accept("r", True)]
    return sender, receiver


def test_messages_share_a_record() -> None:
    sender, receiver = talking()
    said: list[Message] = [Page((Entry(Kind.FILE, 0, "a", size=3),)), Data(0, 0, b"abc")]
    for message in said:
        sender.say(message)
    assert sender.pending > 0
    assert receiver.hear(sender.record()) == said
    assert sender.pending == 0


def test_sending_a_message_too_early_is_a_bug_of_ours() -> None:
    sender, _ = both_sessions()
    with pytest.raises(AssertionError):
        sender.say(Data(0, 0, b"x"))


@pytest.mark.parametrize("said", [Accept("x", True), Progress(0, 0, 0), Data(0, 0, b"x")])
def test_receiving_a_message_too_early_is_a_violation(said: Accept | Progress | Data) -> None:

    keys, other = both_keys()
    receiver = Session(Role.RECEIVER, other)
    record = Sealer(keys.send_key).seal([bytes(part) for part in wire.encode(said)])
    with pytest.raises(PeerMisbehaved):
        receiver.hear(record)


def test_the_last_message_ends_the_direction() -> None:
    sender, receiver = talking()
    sender.say(Abort(Reason.OTHER, "enough"))
    assert receiver.hear(sender.record()) == [Abort(Reason.OTHER, "enough")]
    with pytest.raises(AssertionError):
        sender.say(Offer("again"))


@pytest.mark.parametrize("final", [False, True])
def test_a_final_flag_in_the_wrong_place_is_a_violation(final: bool) -> None:

    keys, other = both_keys()
    receiver = Session(Role.RECEIVER, other)
    said = Offer("s") if final else Abort(Reason.OTHER, "x")
    record = Sealer(keys.send_key).seal([bytes(part) for part in wire.encode(said)], final=final)
    with pytest.raises(PeerMisbehaved):
        receiver.hear(record)


def test_text_is_a_violation() -> None:
    _, receiver = both_sessions()
    with pytest.raises(PeerMisbehaved):
        receiver.hear("hello")


def test_records_are_compressed_only_for_a_side_that_can_open_them() -> None:
    able, unable = both_keys("zstd"), both_keys("other")
    sizes = []
    for keys, other in (able, unable):
        sender, receiver = Session(Role.SENDER, keys), Session(Role.RECEIVER, other)
        sender.say(Offer("s"))
        receiver.hear(sender.record())
        receiver.say(Accept("r", True))
        sender.hear(receiver.record())
        sender.say(Page((Entry(Kind.FILE, 0, "a", size=limits.CHUNK),)))
        sender.say(Data(0, 0, bytes(limits.CHUNK)))
        record = sender.record()
        sizes.append(len(record))
        assert receiver.hear(record)[1] == Data(0, 0, bytes(limits.CHUNK))
    assert sizes[0] < sizes[1] / 10


def test_sending_and_receiving_in_two_threads_lose_no_state() -> None:
    sender, receiver = talking()
    answers = []
    for number in range(1000):
        receiver.say(Progress(number, number, number))
        answers.append(receiver.record())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        listening = Thread(target=lambda: [sender.hear(answer) for answer in answers])
        listening.start()
        for number in range(1000):
            sender.say(Total(number, number))
        sender.say(Finish(0, 0, 0, 0, bytes(32)))
        listening.join()
    finally:
        sys.setswitchinterval(before)
    receiver.hear(sender.record())
    receiver.say(Receipt(0, 0, 0, 0, bytes(32)))
    assert sender.hear(receiver.record()) == [Receipt(0, 0, 0, 0, bytes(32))]
