"""The table of which message each side may send in which state. Each side keeps both states, to check the other.

A message changes the state of its sender by `SAYS` and that of its recipient by `HEARS`. A missing cell in `SAYS` is
a violation; a missing cell in `HEARS` leaves the state unchanged. Everything is in these tables: there is no other
`if` on the state of a conversation.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

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
    Receipt,
    Reject,
    SameSegments,
    SegmentDigests,
    Total,
    Unwanted,
    WholeFile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class _ByIdentity(Enum):
    __hash__ = object.__hash__  # that of Enum is written in Python, and every message needs three


class SenderState(_ByIdentity):
    """The sender's states."""

    NEW = "new"
    OFFERED = "offered"
    ASKED = "asked"
    SHOWN = "shown"
    COUNTED = "counted"
    SENDING = "sending"
    FINISHED = "finished"
    RECEIPTED = "receipted"
    CLOSED = "closed"


class ReceiverState(_ByIdentity):
    """The receiver's states."""

    NEW = "new"
    OFFERED = "offered"
    LOOKING = "looking"
    DECIDING = "deciding"
    RECEIVING = "receiving"
    CHECKING = "checking"
    CLOSED = "closed"


State: TypeAlias = SenderState | ReceiverState
Cells: TypeAlias = "Mapping[State, Mapping[type[Message], State]]"

_CONTENTS: Final = (Total, Page, SegmentDigests, Data, Hole, Kept, FileEnd, WholeFile, FileFail, Omitted)
_ANSWERS: Final = (Reject, Unwanted, Holds, SameSegments, Progress)

SAYS: Final[Cells] = {
    SenderState.NEW: {Offer: SenderState.OFFERED, Goodbye: SenderState.CLOSED, Abort: SenderState.CLOSED},
    SenderState.OFFERED: {Abort: SenderState.CLOSED},
    SenderState.ASKED: {Preview: SenderState.SHOWN, Abort: SenderState.CLOSED},
    SenderState.SHOWN: {Total: SenderState.COUNTED, Abort: SenderState.CLOSED},
    SenderState.COUNTED: {Abort: SenderState.CLOSED},
    SenderState.SENDING: {
        **dict.fromkeys(_CONTENTS, SenderState.SENDING),
        Finish: SenderState.FINISHED,
        Abort: SenderState.CLOSED,
    },
    SenderState.FINISHED: {Abort: SenderState.CLOSED},
    SenderState.RECEIPTED: {Goodbye: SenderState.CLOSED, Abort: SenderState.CLOSED},
    SenderState.CLOSED: {},
    ReceiverState.NEW: {Abort: ReceiverState.CLOSED},
    ReceiverState.OFFERED: {
        Ask: ReceiverState.LOOKING,
        Accept: ReceiverState.RECEIVING,
        Abort: ReceiverState.CLOSED,
    },
    ReceiverState.LOOKING: {Abort: ReceiverState.CLOSED},
    ReceiverState.DECIDING: {Accept: ReceiverState.RECEIVING, Abort: ReceiverState.CLOSED},
    ReceiverState.RECEIVING: {
        **dict.fromkeys(_ANSWERS, ReceiverState.RECEIVING),
        Abort: ReceiverState.CLOSED,
    },
    ReceiverState.CHECKING: {
        **dict.fromkeys(_ANSWERS, ReceiverState.CHECKING),
        Receipt: ReceiverState.CLOSED,
        Abort: ReceiverState.CLOSED,
    },
    ReceiverState.CLOSED: {},
}

HEARS: Final[Cells] = {
    SenderState.OFFERED: {Ask: SenderState.ASKED, Accept: SenderState.SENDING},
    SenderState.SHOWN: {Accept: SenderState.SENDING},
    SenderState.COUNTED: {Accept: SenderState.SENDING},
    SenderState.FINISHED: {Receipt: SenderState.RECEIPTED},
    ReceiverState.NEW: {Offer: ReceiverState.OFFERED},
    ReceiverState.LOOKING: {Preview: ReceiverState.DECIDING},
    ReceiverState.RECEIVING: {Finish: ReceiverState.CHECKING},
}

LAST: Final = (Goodbye, Receipt, Abort)
"""The messages after which their sender sends nothing more: they end a FINAL record."""


def say(speaker: State, listener: State, message: Message) -> tuple[State, State] | None:
    """Return both states after `message`, or None if the speaker may not send it now."""
    kind = type(message)
    after = SAYS[speaker].get(kind)
    if after is None:
        return None
    return after, HEARS.get(listener, {}).get(kind, listener)
