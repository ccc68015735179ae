from __future__ import annotations

from typing import get_args

import pytest

from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Ask,
    Data,
    FileEnd,
    FileFail,
    Finish,
    Goodbye,
    Holds,
    Hole,
    Kept,
    Message,
    Offer,
    Omitted,
    Page,
    Preview,
    Progress,
    Reason,
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)
from p2p_copy.protocol.state_machine import HEARS, SAYS, ReceiverState, SenderState, State, say

EXAMPLES: dict[type, Message] = {
    Offer: Offer("p"),
    Accept: Accept("p", True),
    Ask: Ask(True),
    Preview: Preview(0, 0, True, 0, ()),
    Total: Total(0, 0),
    Page: Page(()),
    Data: Data(0, 0, b"x"),
    Hole: Hole(0, 1, 1),
    FileEnd: FileEnd(0, b""),
    WholeFile: WholeFile(0, b"x", b""),
    FileFail: FileFail(0, Reason.OTHER),
    Omitted: Omitted("", Reason.OTHER),
    Finish: Finish(0, 0, 0, 0, b""),
    Goodbye: Goodbye(),
    Reject: Reject(0, Reason.OTHER, ""),
    Unwanted: Unwanted(0),
    Holds: Holds(1, ()),
    SegmentDigests: SegmentDigests(0, 0, bytes(32)),
    SameSegments: SameSegments(0, 0, (True,), whole=True),
    Kept: Kept(0, 0, 1),
    Progress: Progress(0, 0, 0),
    Receipt: Receipt(0, 0, 0, 0, b""),
    Abort: Abort(Reason.OTHER, ""),
}


def test_there_is_an_example_of_every_message() -> None:
    assert set(EXAMPLES) == set(get_args(Message))


@pytest.mark.parametrize("state", [*SenderState, *ReceiverState], ids=str)
@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_cell(state: State, kind: type) -> None:
    listener: State = ReceiverState.NEW if isinstance(state, SenderState) else SenderState.NEW
    after = say(state, listener, EXAMPLES[kind])
    if kind in SAYS[state]:
        assert after is not None
        assert after[0] is SAYS[state][kind]
    else:
        assert after is None


def test_a_whole_transfer_is_legal_and_ends_both_sides() -> None:
    states: dict[str, State] = {"sender": SenderState.NEW, "receiver": ReceiverState.NEW}
    story = (Offer, Accept, Total, Page, Holds, Data, Hole, Progress, FileEnd, Reject, FileFail, Omitted, Finish,
             Progress, Reject, Receipt, Goodbye)  # fmt: skip
    for kind in story:
        by_receiver = kind in (Accept, Holds, Progress, Reject, Receipt)
        speaker, listener = ("receiver", "sender") if by_receiver else ("sender", "receiver")
        step = say(states[speaker], states[listener], EXAMPLES[kind])
        assert step is not None
        states[speaker], states[listener] = step
    assert states == {"sender": SenderState.CLOSED, "receiver": ReceiverState.CLOSED}


def test_a_question_before_the_answer_is_legal() -> None:
    states: dict[str, State] = {"sender": SenderState.NEW, "receiver": ReceiverState.NEW}
    for kind in (Offer, Ask, Preview, Total, Accept):
        speaker, listener = ("receiver", "sender") if kind in (Ask, Accept) else ("sender", "receiver")
        step = say(states[speaker], states[listener], EXAMPLES[kind])
        assert step is not None
        states[speaker], states[listener] = step
        if kind is Ask:  # until the sender has shown something, there is nothing to decide
            assert say(states["receiver"], states["sender"], EXAMPLES[Accept]) is None
            assert say(states["sender"], states["receiver"], EXAMPLES[Total]) is None
    assert states == {"sender": SenderState.SENDING, "receiver": ReceiverState.RECEIVING}
    assert say(states["sender"], states["receiver"], EXAMPLES[Total]) is not None, "it may cross the answer"


def test_neither_side_may_send_the_messages_of_the_other() -> None:
    for sending in SenderState:
        assert not {Ask, Accept, Holds, Reject, Progress, Receipt} & set(SAYS[sending])
    for receiving in ReceiverState:
        assert not {Offer, Preview, Page, Data, Hole, FileEnd, WholeFile, Finish, Goodbye} & set(
            SAYS[receiving]
        )


def test_a_side_may_abort_until_its_last_message() -> None:
    for state in (*SenderState, *ReceiverState):
        assert (Abort in SAYS[state]) == (state.value != "closed")
    assert all(SAYS[state] == {} for state in (SenderState.CLOSED, ReceiverState.CLOSED))


def test_receiving_a_message_never_ends_a_side() -> None:
    assert not {SenderState.CLOSED, ReceiverState.CLOSED} & {
        after for row in HEARS.values() for after in row.values()
    }
