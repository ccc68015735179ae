"""Records over several links come out in order, in bounded memory, also if some are lost, repeated or delayed."""

from __future__ import annotations

import struct
from collections import deque
from itertools import count

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import limits, wire
from p2p_copy.protocol.messages import Accept, Offer
from p2p_copy.protocol.multipath import Ack, AckCodec, ReorderBuffer, SendQueue, is_ack
from p2p_copy.protocol.records import number_of
from p2p_copy.protocol.rendezvous import Role

LINKS = 4
SECRET = bytes(32)


def record(number: int, size: int = 100) -> bytes:
    return struct.pack(">BBHIQ", 1, 0, 0, size, number) + bytes(size + limits.RECORD_TAG)


class Way:
    """One side's queue, the other side's buffer, and between them links that lose what is on them when cut."""

    def __init__(self) -> None:
        self.queue = SendQueue(1)
        self.buffer = ReorderBuffer(1)
        self.numbers = count(1)
        self.carried: list[deque[bytes]] = [deque() for _ in range(LINKS)]
        self.acks: list[deque[tuple[int, int]]] = [deque() for _ in range(LINKS)]
        self.out: list[int] = []
        self.sent = 0

    def say(self, link: int) -> None:
        if self.queue.has_room(limits.RECORD_HEADER + 100 + limits.RECORD_TAG):
            self.queue.add(record(next(self.numbers)))

    def carry(self, link: int) -> None:
        if (taken := self.queue.take(link)) is not None:
            self.sent += 1
            self.carried[link].append(taken)

    def arrive(self, link: int) -> None:
        if self.carried[link]:
            self.buffer.put(self.carried[link].popleft())

    def repeat(self, link: int) -> None:
        """What a lying relay may do."""
        if self.carried[link]:
            self.carried[(link + 1) % LINKS].append(self.carried[link][0])

    def take(self, link: int) -> None:
        if (taken := self.buffer.take()) is not None:
            self.out.append(number_of(taken))

    def acknowledge(self, link: int) -> None:
        self.acks[link].append((self.buffer.received, self.buffer.consumed))

    def hear(self, link: int) -> None:
        if self.acks[link]:
            self.queue.acknowledge(*self.acks[link].popleft())

    def lose(self, link: int) -> None:
        self.carried[link].clear()
        self.acks[link].clear()
        self.queue.lose(link)

    def retransmit(self, link: int) -> None:
        self.queue.retransmit_elsewhere()

    def finish(self) -> None:
        """Let everything come through over the last link, the others being lost."""
        for link in range(LINKS - 1):
            self.lose(link)
        while not self.queue.settled:
            for step in (self.carry, self.arrive, self.take, self.acknowledge, self.hear):
                step(LINKS - 1)
        while self.buffer.consumed < self.buffer.received:
            self.take(LINKS - 1)


STEPS = [
    "say",
    "say",
    "carry",
    "carry",
    "arrive",
    "arrive",
    "repeat",
    "take",
    "acknowledge",
    "hear",
    "lose",
    "retransmit",
]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, LINKS - 1)), max_size=300))
def test_all_records_come_out_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MULTIPATH_RECORDS", 9)
        patch.setattr(limits, "MULTIPATH_BYTES", 8 * len(record(1)) + 5)
        way = Way()
        for step, link in steps:
            getattr(way, step)(link)
            assert len(way.buffer._held) <= 8
            assert len(way.queue._out) <= 8
        way.finish()
        assert way.out == list(range(1, next(way.numbers)))
        assert way.queue.delivered == len(way.out) * len(record(1))
        assert way.queue.waiting == 0


def test_the_loss_of_a_link_sends_again_what_it_carried_and_nothing_else() -> None:
    way = Way()
    for number in range(8):
        way.say(0)
        way.carry(number % 2)
    way.arrive(0)
    way.acknowledge(1)
    way.hear(1)
    way.lose(0)
    assert way.queue.waiting == 3
    assert [number_of(way.queue.take(1) or b"") for _ in range(3)] == [3, 5, 7]
    assert way.queue.take(1) is None


def test_what_lies_on_a_link_that_is_stuck_goes_over_another_one_once() -> None:
    way = Way()
    for number in range(8):
        way.say(0)
        way.carry(number % 2)
    way.queue.retransmit_elsewhere()
    assert way.queue.take(0) is None, "it has taken this link already"
    assert [number_of(way.queue.take(1) or b"") for _ in range(4)] == [1, 3, 5, 7]
    way.queue.retransmit_elsewhere()
    assert way.queue.waiting == 0
    way.queue.lose(1)
    assert way.queue.waiting == 4, "the others lie on the first link, which may move again"


def test_a_record_further_ahead_than_there_is_room_for_is_refused() -> None:
    buffer = ReorderBuffer(1)
    for number in range(2, limits.MULTIPATH_RECORDS + 1):
        buffer.put(record(number))
    with pytest.raises(PeerMisbehaved):
        buffer.put(record(limits.MULTIPATH_RECORDS + 1))


def test_more_bytes_than_there_is_room_for_are_refused() -> None:
    buffer = ReorderBuffer(1)
    largest = limits.MAX_RECORD_CONTENT
    for number in range(2, 2 + limits.MULTIPATH_BYTES // limits.MAX_RECORD):
        buffer.put(record(number, largest))
    with pytest.raises(PeerMisbehaved):
        buffer.put(record(1, largest))


@pytest.mark.parametrize(
    "said", [b"", b"\x01", record(1)[:31], b"\x03" + record(1)[1:], record(1) + bytes(limits.MAX_RECORD)]
)
def test_what_is_no_record_is_a_violation(said: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        ReorderBuffer(1).put(said)


@pytest.mark.parametrize(("arrived", "taken"), [(3, 1), (1, 2), (2**64 - 1, 0)])
def test_noting_what_was_never_sent_is_a_violation(arrived: int, taken: int) -> None:
    queue = SendQueue(1)
    queue.add(record(1))
    with pytest.raises(PeerMisbehaved):
        queue.acknowledge(arrived, taken)


def test_an_old_note_changes_nothing() -> None:
    queue = SendQueue(1)
    queue.add(record(1))
    queue.acknowledge(2, 2)
    queue.acknowledge(1, 1)
    assert queue.settled
    assert queue.received == 2


def test_each_side_reads_the_other_sides_notes_for_this_link_and_no_others() -> None:
    sender, receiver = AckCodec(Role.SENDER, SECRET), AckCodec(Role.RECEIVER, SECRET)
    note = Ack(3, 4, 2**40, 2**39)
    message = sender.write(note)
    assert is_ack(message)
    assert not is_ack(record(1))
    assert receiver.read(message, 3) == note
    for reader, read, link in [
        (sender, message, 3),
        (receiver, message, 2),
        (receiver, message[:-1], 3),
        (receiver, message + b"\0", 3),
        (receiver, message[:1], 3),
        (AckCodec(Role.RECEIVER, bytes(31) + b"\1"), message, 3),
    ]:
        with pytest.raises(PeerMisbehaved):
            reader.read(read, link)


@given(st.integers(0, 50), st.integers(1, 255))
def test_a_note_that_was_changed_anywhere_is_refused(at: int, by: int) -> None:
    message = bytearray(AckCodec(Role.SENDER, SECRET).write(Ack(0, 1, 5, 4)))
    message[at] ^= by
    with pytest.raises(PeerMisbehaved):
        AckCodec(Role.RECEIVER, SECRET).read(bytes(message), 0)


@pytest.mark.parametrize(
    "message", [Offer("s", limits.MAX_LINKS + 1), Accept("r", True, False, 0), Accept("r", True, False, 17)]
)
def test_a_number_of_links_that_there_cannot_be_is_a_violation(message: Offer | Accept) -> None:
    with pytest.raises(PeerMisbehaved):
        wire.decode(b"".join(wire.encode(message)))
