"""The key exchange: the same secret gives the same keys, everything else gives none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given, strategies as st

from p2p_copy.errors import IncompatiblePeer, P2PCopyError, PeerLost, PeerMisbehaved, WrongCode
from p2p_copy.protocol import cpace, keys, limits
from p2p_copy.protocol.key_exchange import HandshakeFailed, ReceiverHandshake, SenderHandshake, SessionKeys
from p2p_copy.protocol.verification import words_of
from p2p_copy.protocol.wordlist import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parent.parent / "vectors"
LOW_ORDER = [
    bytes.fromhex(point["u"])
    for point in json.loads((VECTORS / "cpace_x25519.json").read_text(encoding="utf-8"))["scalar_mult_vfy"][
        "points"
    ]
    if point["must_abort"]
]

Machine: TypeAlias = SenderHandshake | ReceiverHandshake
End: TypeAlias = "SessionKeys | type[P2PCopyError]"

SECRET = "lemon-orbit-tulip"
ROOM = keys.room_id("lab7")
ZSTD = frozenset({"zstd"})
WRONG, VERSION, MALFORMED = b"\x8f\x01", b"\x8f\x02", b"\x8f\x03"


def sender(
    seed: int = 1, *, secret: str = SECRET, room: str = ROOM, can: frozenset[str] = ZSTD
) -> SenderHandshake:
    return SenderHandshake(secret, room, bytes([seed]) * 32, bytes([seed + 100]) * 32, can)


def receiver(
    seed: int = 2, *, secret: str = SECRET, room: str = ROOM, can: frozenset[str] = ZSTD
) -> ReceiverHandshake:
    return ReceiverHandshake(secret, room, bytes([seed]) * 32, bytes([seed + 100]) * 32, can)


def sent(message: bytes | None) -> bytes:
    assert message is not None
    return message


def converse(
    s: SenderHandshake,
    r: ReceiverHandshake,
    change: Callable[[int, bytes], bytes] = lambda _number, message: message,
) -> tuple[End, End]:
    """Deliver messages, changed on the way, until neither side answers; return how sender and receiver ended."""
    ends: dict[Machine, End] = {}
    here: Machine = s
    there: Machine = r
    message = r.start()
    number = 1
    while message is not None and here not in ends:
        try:
            message = here.receive(change(number, message))
        except HandshakeFailed as failed:
            assert here.keys is None
            ends[here] = type(failed.error)
            message = failed.farewell
        else:
            if here.keys:
                ends[here] = here.keys
        here, there = there, here
        number += 1
    assert number <= 6
    for side in (s, r):
        if side not in ends:
            ends[side] = type(side.lost())
    return ends[s], ends[r]


def transcript() -> tuple[bytes, bytes, bytes, bytes]:
    """Return M1 to M4 of an undisturbed run."""
    s, r = sender(), receiver()
    m1 = sent(r.start())
    m2 = sent(s.receive(m1))
    m3 = sent(r.receive(m2))
    return m1, m2, m3, sent(s.receive(m3))


def refused(machine: Machine, message: bytes) -> HandshakeFailed:
    """Deliver a message that must end the run for good."""
    with pytest.raises(HandshakeFailed) as caught:
        machine.receive(message)
    assert machine.keys is None
    for again in (message, *transcript()):
        with pytest.raises(RuntimeError):
            machine.receive(again)
    with pytest.raises(RuntimeError):
        machine.start()
    return caught.value


M1, M2, M3, M4 = transcript()


def fresh_sender() -> SenderHandshake:
    return sender()


def waiting_sender() -> SenderHandshake:
    s = sender()
    s.receive(M1)
    return s


def fresh_receiver() -> ReceiverHandshake:
    return receiver()


def waiting_receiver() -> ReceiverHandshake:
    r = receiver()
    r.receive(M2)
    return r


STATES: list[tuple[Callable[[], Machine], bytes]] = [
    (fresh_sender, M1),
    (fresh_receiver, M2),
    (waiting_sender, M3),
    (waiting_receiver, M4),
]
"""Each state in which a message is awaited, and the message."""


# --- Successful runs ----------------------------------------------------------------------------------


def test_the_same_secret_gives_both_sides_the_same_keys() -> None:
    ours, theirs = converse(sender(), receiver())
    assert isinstance(ours, SessionKeys)
    assert isinstance(theirs, SessionKeys)
    assert ours.send_key == theirs.receive_key
    assert ours.receive_key == theirs.send_key
    assert ours.resume == theirs.resume
    assert ours.verify == theirs.verify
    assert len({ours.send_key, ours.receive_key, ours.resume, ours.verify}) == 4


def test_the_sender_has_keys_after_the_proof_and_the_receiver_after_the_answer() -> None:
    s, r = sender(), receiver()
    assert s.start() is None
    m2 = sent(s.receive(sent(r.start())))
    assert s.keys is None
    m3 = sent(r.receive(m2))
    assert r.keys is None
    m4 = sent(s.receive(m3))
    assert s.keys is not None
    assert r.receive(m4) is None
    assert r.keys is not None


def test_either_fresh_nonce_gives_keys_that_have_nothing_in_common_with_the_last() -> None:
    seen: set[bytes] = set()
    for s, r in ((sender(), receiver()), (sender(3), receiver()), (sender(), receiver(4))):
        ours, _ = converse(s, r)
        assert isinstance(ours, SessionKeys)
        seen |= {ours.send_key, ours.receive_key, ours.resume, ours.verify}
    assert len(seen) == 12


@pytest.mark.parametrize(
    ("mine", "yours"),
    [(set(), set()), ({"zstd"}, set()), (set(), {"zstd"}), ({"zstd", "a-new-thing", "9"}, {"zstd", "links"})],
)
def test_each_side_learns_all_that_the_other_one_lists(mine: set[str], yours: set[str]) -> None:
    ours, theirs = converse(sender(can=frozenset(mine)), receiver(can=frozenset(yours)))
    assert isinstance(ours, SessionKeys)
    assert isinstance(theirs, SessionKeys)
    assert ours.peer_capabilities == yours
    assert theirs.peer_capabilities == mine


@given(
    secret=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    random=st.lists(st.binary(min_size=32, max_size=32), min_size=4, max_size=4),
)
def test_every_secret_and_all_randomness_works(secret: str, random: list[bytes]) -> None:
    s = SenderHandshake(secret, ROOM, random[0], random[1], frozenset())
    r = ReceiverHandshake(secret, ROOM, random[2], random[3], ZSTD)
    ours, theirs = converse(s, r)
    assert isinstance(ours, SessionKeys)
    assert isinstance(theirs, SessionKeys)
    assert ours.send_key == theirs.receive_key


def test_messages_fit_even_with_the_longest_list() -> None:
    longest = frozenset({"a" * limits.MAX_CAPABILITIES})
    ours, _ = converse(sender(can=longest), receiver(can=longest))
    assert isinstance(ours, SessionKeys)
    m2 = sent(sender(can=longest).receive(sent(receiver(can=longest).start())))
    assert len(m2) <= limits.MAX_HANDSHAKE_MESSAGE


def test_messages_stand_on_the_wire_as_documented() -> None:
    list_ = b"\x00\x04zstd"
    assert M1[:34] == b"\x81\x01" + bytes([2]) * 32
    assert M1[34:] == list_
    assert M2[:34] == b"\x82\x01" + bytes([1]) * 32
    assert M2[98:] == list_
    assert (M3[:1], len(M3)) == (b"\x83", 65)
    assert (M4[:1], len(M4)) == (b"\x84", 65)
    assert M2[66:98] == hashlib.sha256(b"p2p-copy/1 commitment" + M4[33:]).digest()
    both = sender(can=frozenset({"zstd", "links"})).receive(M1)
    assert sent(both)[98:] == b"\x00\x0alinks,zstd"


@pytest.mark.fault(55, "golden files")
def test_the_whole_exchange_matches_the_golden_file() -> None:
    case: dict[str, Any] = json.loads((VECTORS / "handshake.json").read_text(encoding="utf-8"))
    given_, expected = case["given"], case["expected"]
    room = keys.room_id(given_["room"])
    assert room == expected["room_id"]
    s, r = (
        machine(
            given_["secret"],
            room,
            bytes.fromhex(given_[side]["nonce"]),
            bytes.fromhex(given_[side]["scalar"]),
            frozenset(given_[side]["capabilities"]),
        )
        for side, machine in (("sender", SenderHandshake), ("receiver", ReceiverHandshake))
    )
    m1 = sent(r.start())
    m2 = sent(s.receive(m1))
    m3 = sent(r.receive(m2))
    m4 = sent(s.receive(m3))
    r.receive(m4)
    assert [m.hex() for m in (m1, m2, m3, m4)] == [expected[name] for name in ("M1", "M2", "M3", "M4")]
    assert s.keys is not None
    assert r.keys is not None
    for found in (
        {"s2r": s.keys.send_key, "r2s": s.keys.receive_key, "resume": s.keys.resume, "verify": s.keys.verify},
        {"s2r": r.keys.receive_key, "r2s": r.keys.send_key, "resume": r.keys.resume, "verify": r.keys.verify},
    ):
        assert {name: key.hex() for name, key in found.items()} == expected["keys"]


def test_the_steps_in_the_golden_file_are_the_documented_ones() -> None:
    case: dict[str, Any] = json.loads((VECTORS / "handshake.json").read_text(encoding="utf-8"))
    given_, steps = case["given"], {k: bytes.fromhex(v) for k, v in case["steps"].items()}
    m1, m2, m3 = (bytes.fromhex(case["expected"][name]) for name in ("M1", "M2", "M3"))
    assert steps["sid"] == m1[2:34] + m2[2:34]
    assert steps["CI"] == cpace.lv_cat(
        b"p2p-copy/1 sender", b"p2p-copy/1 receiver", keys.room_id(given_["room"]).encode()
    )
    assert steps["g"] == cpace.calculate_generator(given_["secret"].encode(), steps["CI"], steps["sid"])
    assert steps["K"] == cpace.scalar_mult_vfy(bytes.fromhex(given_["receiver"]["scalar"]), m2[34:66])
    assert steps["ISK"] == cpace.isk_ir(steps["sid"], steps["K"], m2[34:66], m2[100:], m3[1:33], m1[36:])
    assert steps["PRK"] == keys.extract(steps["th"], steps["ISK"])
    opening = bytes.fromhex(case["expected"]["M4"])[33:]
    assert m2[66:98] == hashlib.sha256(b"p2p-copy/1 commitment" + opening).digest()
    verify = keys.expand(steps["PRK"], b"p2p-copy/1 verify" + opening)
    assert verify.hex() == case["expected"]["keys"]["verify"]
    number = int.from_bytes(verify[:8], "big")
    assert [WORDS[number % 7772], WORDS[number // 7772 % 7772]] == case["expected"]["words"]
    assert steps["confirm_S"] == keys.confirm_sender(steps["PRK"])
    assert steps["confirm_R"] == keys.confirm_receiver(steps["PRK"])


# --- The wrong secret --------------------------------------------------------------------------------


@pytest.mark.fault(43, "wrong secret")
def test_a_wrong_secret_ends_both_sides_with_wrong_code() -> None:
    assert converse(sender(secret="lemon-orbit-rose"), receiver()) == (WrongCode, WrongCode)


@pytest.mark.fault(54, "swapped pairs")
def test_another_room_ends_both_sides_with_wrong_code() -> None:
    assert converse(sender(room=keys.room_id("lab8")), receiver()) == (WrongCode, WrongCode)


def test_a_wrong_proof_is_answered_with_a_farewell() -> None:
    failed = refused(waiting_sender(), M3[:-1] + bytes([M3[-1] ^ 1]))
    assert isinstance(failed.error, WrongCode)
    assert failed.farewell == WRONG


def test_a_wrong_answer_to_the_proof_ends_the_receiver_without_a_word() -> None:
    failed = refused(waiting_receiver(), M4[:-1] + bytes([M4[-1] ^ 1]))
    assert isinstance(failed.error, WrongCode)
    assert failed.farewell is None


@pytest.mark.fault(48, "tag missing")
def test_silence_after_the_receivers_proof_counts_as_a_guess_and_no_other_silence_does() -> None:
    assert isinstance(waiting_receiver().lost(), WrongCode)
    for machine in (fresh_sender(), waiting_sender(), fresh_receiver()):
        assert isinstance(machine.lost(), PeerLost)
    done = waiting_receiver()
    done.receive(M4)
    assert isinstance(done.lost(), PeerLost)
    with pytest.raises(RuntimeError):
        done.receive(M4)


# --- An attacker in the middle --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_flipped_bit_before_the_last_message_leaves_both_sides_without_keys(number: int) -> None:
    for position in range(len((M1, M2, M3)[number - 1])):
        for bit in range(8):

            def flip(at: int, message: bytes, position: int = position, bit: int = bit) -> bytes:
                if at != number:
                    return message
                return message[:position] + bytes([message[position] ^ 1 << bit]) + message[position + 1 :]

            ends = converse(sender(), receiver(), flip)
            if number < 3 and position == 1:
                assert ends == (IncompatiblePeer, IncompatiblePeer)
            else:
                assert set(ends) <= {WrongCode, PeerMisbehaved}, (position, bit)


def test_every_flipped_bit_of_the_last_message_leaves_the_receiver_without_keys() -> None:
    # The sender has finished by then: the proof that it checked came from the right receiver.
    for position in range(len(M4)):
        for bit in range(8):
            failed = refused(
                waiting_receiver(), M4[:position] + bytes([M4[position] ^ 1 << bit]) + M4[position + 1 :]
            )
            assert type(failed.error) is WrongCode
            assert failed.farewell is None


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_message_under_any_other_number_leaves_both_sides_without_keys(number: int) -> None:
    right = (M1, M2, M3)[number - 1][0]
    for value in set(range(256)) - {right}:

        def rename(at: int, message: bytes, value: int = value) -> bytes:
            return bytes([value]) + message[1:] if at == number else message

        ends = converse(sender(), receiver(), rename)
        # As a farewell it gets no answer, so the other side receives nothing more. A receiver that has shown its
        # proof treats anything in place of the sender's as a failed guess.
        expected: set[type[P2PCopyError]] = {PeerMisbehaved}
        if value == 0x8F:
            expected |= {PeerLost, WrongCode}
        if number == 3:
            expected |= {WrongCode}
        assert set(ends) <= expected


@pytest.mark.fault(46, "low order", "non-canonical")
@pytest.mark.parametrize("low", LOW_ORDER, ids=bytes.hex)
def test_a_share_of_low_order_is_a_guess(low: bytes) -> None:
    to_receiver = refused(fresh_receiver(), M2[:34] + low + M2[66:])
    to_sender = refused(waiting_sender(), M3[:1] + low + M3[33:])
    for failed in (to_receiver, to_sender):
        assert isinstance(failed.error, WrongCode)
        assert failed.farewell == WRONG


@pytest.mark.fault(47, "nonces", "shares", "capabilities")
def test_replaced_nonces_shares_and_lists_are_noticed() -> None:
    def replace(number: int, start: int, data: bytes) -> Callable[[int, bytes], bytes]:
        return lambda at, m: m[:start] + data + m[start + len(data) :] if at == number else m

    share = cpace.share(b"m" * 32, (9).to_bytes(32, "little"))
    for change in (
        replace(1, 2, b"n" * 32),
        replace(2, 2, b"n" * 32),
        replace(2, 34, share),
        replace(3, 1, share),
        replace(3, 33, b"t" * 32),
        replace(1, 36, b"zstx"),
        replace(2, 66, b"c" * 32),
        replace(2, 100, b"zstx"),
    ):
        assert converse(sender(), receiver(), change) == (WrongCode, WrongCode)


@pytest.mark.fault(53, "suite")
@pytest.mark.parametrize("number", [1, 2])
def test_a_list_made_shorter_is_noticed(number: int) -> None:
    def downgrade(at: int, message: bytes) -> bytes:
        return message[:-6] + b"\x00\x00" if at == number else message

    assert converse(sender(), receiver(), downgrade) == (WrongCode, WrongCode)


@pytest.mark.fault(45, "reflection")
def test_messages_sent_back_to_their_sender_are_refused() -> None:
    for machine, message in ((fresh_receiver(), M1), (waiting_sender(), M2)):
        failed = refused(machine, message)
        assert isinstance(failed.error, PeerMisbehaved)
        assert failed.farewell == MALFORMED
    assert isinstance(refused(waiting_receiver(), M3).error, WrongCode)


@pytest.mark.fault(45, "reflection")
def test_nonces_shares_and_proofs_sent_back_under_the_right_number_are_refused() -> None:
    r = receiver()
    m1 = sent(r.start())
    share = cpace.share(b"m" * 32, (9).to_bytes(32, "little"))
    m3 = sent(r.receive(b"\x82\x01" + m1[2:34] + share + bytes(32) + m1[34:]))
    assert isinstance(refused(r, b"\x84" + m3[33:] + bytes(32)).error, WrongCode)
    own_share = b"\x83" + M2[34:66] + M3[33:]
    assert isinstance(refused(waiting_sender(), own_share).error, WrongCode)


@pytest.mark.fault(45, "role swap")
def test_two_receivers_or_two_senders_get_no_keys() -> None:
    assert isinstance(refused(receiver(), sent(receiver(3).start())).error, PeerMisbehaved)
    # A sender does not begin, and the answer of another sender is out of order for it.
    assert isinstance(refused(sender(), M2).error, PeerMisbehaved)
    assert isinstance(refused(sender(), M4).error, PeerMisbehaved)


@pytest.mark.fault(47, "old session")
def test_an_old_session_cannot_be_replayed_to_either_side() -> None:
    s = sender(5)
    s.receive(M1)
    assert isinstance(refused(s, M3).error, WrongCode)
    r = receiver(6)
    r.receive(M2)
    assert isinstance(refused(r, M4).error, WrongCode)


@pytest.mark.fault(54, "swapped pairs")
def test_two_pairs_whose_ends_are_exchanged_get_no_keys() -> None:
    ends = converse(
        sender(room=keys.room_id("a"), secret="one"), receiver(room=keys.room_id("b"), secret="two")
    )
    assert ends == (WrongCode, WrongCode)


def test_an_attacker_in_the_middle_with_wrong_guesses_gets_no_keys() -> None:
    assert converse(sender(), receiver(7, secret="guess")) == (WrongCode, WrongCode)
    assert converse(sender(8, secret="guess"), receiver()) == (WrongCode, WrongCode)


# --- Malformed, out of order, another version --------------------------------------------------------


@pytest.mark.parametrize(("state", "awaited"), STATES)
def test_a_message_cut_or_lengthened_is_refused(state: Callable[[], Machine], awaited: bytes) -> None:
    for message in (
        *(awaited[:length] for length in range(len(awaited))),
        awaited + b"\0",
        awaited + bytes(2000),
    ):
        with pytest.raises(HandshakeFailed) as caught:
            state().receive(message)
        assert isinstance(caught.value.error, WrongCode if state is waiting_receiver else PeerMisbehaved)
        assert caught.value.farewell == (None if state is waiting_receiver else MALFORMED)


@pytest.mark.fault(48, "tag early", "data before the tag")
@pytest.mark.parametrize(("state", "awaited"), STATES)
def test_a_message_out_of_order_is_refused(state: Callable[[], Machine], awaited: bytes) -> None:
    for message in {M1, M2, M3, M4} - {awaited}:
        failed = refused(state(), message)
        assert isinstance(failed.error, WrongCode if state is waiting_receiver else PeerMisbehaved)
        assert failed.farewell == (None if state is waiting_receiver else MALFORMED)


@pytest.mark.parametrize(("state", "awaited"), STATES)
@given(data=st.data())
def test_garbage_is_refused_and_nothing_else_happens(
    state: Callable[[], Machine], awaited: bytes, data: st.DataObject
) -> None:
    start = awaited[: data.draw(st.integers(0, len(awaited) - 1))]
    message = start + data.draw(st.binary(max_size=80))
    if message == awaited:
        return
    machine = state()
    try:
        machine.receive(message)
    except HandshakeFailed:
        assert machine.keys is None
    else:
        # A hello with other numbers is accepted; the proof then fails.
        assert state in (fresh_sender, fresh_receiver)


def hello(list_: bytes, length: int | None = None) -> bytes:
    return M1[:34] + (len(list_) if length is None else length).to_bytes(2, "big") + list_


@pytest.mark.parametrize(
    "list_",
    [
        b",", b"zstd,", b",zstd", b"a,,b", b"b,a", b"a,a", b"Zstd", b"z std", b"zst\xc3\xa9",
        b"a\n", b"a\0", b"a;b", b"a" * (limits.MAX_CAPABILITIES + 1),
    ],
)  # fmt: skip
def test_a_malformed_list_is_refused(list_: bytes) -> None:
    failed = refused(fresh_sender(), hello(list_))
    assert isinstance(failed.error, PeerMisbehaved)
    assert failed.farewell == MALFORMED


def test_a_list_of_another_length_than_it_says_is_refused() -> None:
    for length in (0, 3, 5, 65535):
        assert isinstance(refused(fresh_sender(), hello(b"zstd", length)).error, PeerMisbehaved)


@pytest.mark.fault(53, "version")
@pytest.mark.parametrize("rest", [b"", M1[2:], b"something else altogether", bytes(5000)])
@pytest.mark.parametrize(("state", "kind"), [(fresh_sender, b"\x81"), (fresh_receiver, b"\x82")])
def test_another_version_is_reported_before_anything_else_is_checked(
    state: Callable[[], Machine], kind: bytes, rest: bytes
) -> None:
    older = refused(state(), kind + b"\x00" + rest)
    newer = refused(state(), kind + b"\x02" + rest)
    for failed in (older, newer):
        assert isinstance(failed.error, IncompatiblePeer)
        assert failed.farewell == VERSION
    assert "Upgrade p2p-copy over there" in str(older.error)
    assert "Upgrade p2p-copy here" in str(newer.error)


@pytest.mark.parametrize(("state", "_awaited"), STATES)
@pytest.mark.parametrize(
    ("farewell", "error"),
    [
        (WRONG, WrongCode),
        (VERSION, IncompatiblePeer),
        (MALFORMED, PeerMisbehaved),
        (b"\x8f", PeerMisbehaved),
        (b"\x8f\x00", PeerMisbehaved),
        (b"\x8f\x04", PeerMisbehaved),
        (b"\x8f\x01\x01", PeerMisbehaved),
    ],
)
def test_a_farewell_ends_the_run_and_is_never_answered(
    state: Callable[[], Machine], _awaited: bytes, farewell: bytes, error: type[P2PCopyError]
) -> None:
    failed = refused(state(), farewell)
    assert type(failed.error) is (WrongCode if state is waiting_receiver else error)
    assert failed.farewell is None


# --- The words that people compare ---------------------------------------------------------------


def test_both_sides_show_the_same_words() -> None:
    ours, theirs = converse(sender(), receiver())
    assert isinstance(ours, SessionKeys)
    assert isinstance(theirs, SessionKeys)
    words = words_of(ours.verify)
    assert words == words_of(theirs.verify)
    assert set(words) <= set(WORDS)


def test_an_attacker_who_has_the_code_gives_the_two_sides_different_words() -> None:
    """The attacker runs one exchange with each side, and each of these succeeds."""
    here, _ = converse(sender(), receiver(3))
    _, there = converse(sender(4), receiver())
    assert isinstance(here, SessionKeys)
    assert isinstance(there, SessionKeys)
    assert words_of(here.verify) != words_of(there.verify)


def test_a_receiver_chooses_its_share_before_it_can_know_the_words() -> None:
    """The words depend on what the sender reveals last, so no share can be looked for that gives certain words."""
    commitments = {bytes([seed]): sent(sender(seed).receive(M1))[66:98] for seed in range(1, 5)}
    assert len(set(commitments.values())) == 4
    s = sender()
    s.receive(M1)
    opening = sent(s.receive(M3))[33:]
    assert opening not in M1 + M2 + M3
    assert keys.verify(bytes(32), opening) != keys.verify(bytes(32), bytes(32))


def test_a_sender_cannot_change_what_it_has_committed_to() -> None:
    changed = M4[:33] + bytes([M4[33] ^ 1]) + M4[34:]
    failed = refused(waiting_receiver(), changed)
    assert isinstance(failed.error, WrongCode)
    assert failed.farewell is None


def test_all_words_are_used_about_equally() -> None:
    pairs = [words_of(keys.expand(bytes(32), str(number).encode())) for number in range(4000)]
    for words in zip(*pairs, strict=True):
        assert 2900 < len(set(words)) < 3300  # of 7772, when 4000 are drawn: 3128 on average
    assert len(set(pairs)) == len(pairs)


# --- Wrong use, and secrets -------------------------------------------------------------------


@pytest.mark.fault(48, "tag twice")
def test_a_finished_run_accepts_nothing_more() -> None:
    s, r = sender(), receiver()
    converse(s, r)
    machines: tuple[Machine, ...] = (s, r)
    for machine in machines:
        for message in (M1, M2, M3, M4, WRONG):
            with pytest.raises(RuntimeError):
                machine.receive(message)
        with pytest.raises(RuntimeError):
            machine.start()
        assert machine.keys is not None


@pytest.mark.parametrize("machine", [SenderHandshake, ReceiverHandshake])
def test_bad_inputs_are_refused_at_once(machine: type[Machine]) -> None:
    good = bytes(32)
    for nonce, scalar, names in (
        (good[1:], good, ZSTD),
        (good, good[1:], ZSTD),
        (good, good, frozenset({"Upper"})),
        (good, good, frozenset({""}) | ZSTD),
        (good, good, frozenset({"a" * (limits.MAX_CAPABILITIES + 1)})),
    ):
        with pytest.raises(ValueError):
            machine(SECRET, ROOM, nonce, scalar, names)


def test_no_repr_shows_a_secret() -> None:
    s = sender()
    ours, _ = converse(s, receiver())
    assert isinstance(ours, SessionKeys)
    failed = refused(waiting_sender(), M3[:-1] + b"\0")
    shown = repr(s) + repr(ours) + str(ours) + repr(failed) + repr(failed.error)
    assert SECRET not in shown
    for value in dataclasses.astuple(ours)[:4]:
        assert repr(value)[2:-1] not in shown
        assert value.hex() not in shown
    assert "zstd" in repr(ours)
