"""Who may say what, when. Two small machines, kept by both sides alike, so either side's mistake shows.

A message moves the speaker along `SAYS` and the listener along `HEARS`. A missing cell in `SAYS` is a
violation; a missing cell in `HEARS` means that the listener stays as it is. Everything is in these tables:
there is no other `if` on the state of a conversation.
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
    Message,
    Offer,
    Omitted,
    Page,
    Preview,
    Progress,
    Receipt,
    Reject,
    Total,
    Waive,
    WholeFile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class _ByIdentity(Enum):
    __hash__ = object.__hash__  # an Enum's own is Python code, and every message asks three times


class S(_ByIdentity):
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


class R(_ByIdentity):
    """The receiver's states."""

    NEW = "new"
    OFFERED = "offered"
    LOOKING = "looking"
    DECIDING = "deciding"
    RECEIVING = "receiving"
    CHECKING = "checking"
    CLOSED = "closed"


State: TypeAlias = S | R
Cells: TypeAlias = "Mapping[State, Mapping[type[Message], State]]"

_STREAM: Final = (Total, Page, Data, Hole, FileEnd, WholeFile, FileFail, Omitted)
_ANSWERS: Final = (Reject, Waive, Holds, Progress)

SAYS: Final[Cells] = {
    S.NEW: {Offer: S.OFFERED, Goodbye: S.CLOSED, Abort: S.CLOSED},
    S.OFFERED: {Abort: S.CLOSED},
    S.ASKED: {Preview: S.SHOWN, Abort: S.CLOSED},
    S.SHOWN: {Total: S.COUNTED, Abort: S.CLOSED},
    S.COUNTED: {Abort: S.CLOSED},
    S.SENDING: {**dict.fromkeys(_STREAM, S.SENDING), Finish: S.FINISHED, Abort: S.CLOSED},
    S.FINISHED: {Abort: S.CLOSED},
    S.RECEIPTED: {Goodbye: S.CLOSED, Abort: S.CLOSED},
    S.CLOSED: {},
    R.NEW: {Abort: R.CLOSED},
    R.OFFERED: {Ask: R.LOOKING, Accept: R.RECEIVING, Abort: R.CLOSED},
    R.LOOKING: {Abort: R.CLOSED},
    R.DECIDING: {Accept: R.RECEIVING, Abort: R.CLOSED},
    R.RECEIVING: {**dict.fromkeys(_ANSWERS, R.RECEIVING), Abort: R.CLOSED},
    R.CHECKING: {**dict.fromkeys(_ANSWERS, R.CHECKING), Receipt: R.CLOSED, Abort: R.CLOSED},
    R.CLOSED: {},
}

HEARS: Final[Cells] = {
    S.OFFERED: {Ask: S.ASKED, Accept: S.SENDING},
    S.SHOWN: {Accept: S.SENDING},
    S.COUNTED: {Accept: S.SENDING},
    S.FINISHED: {Receipt: S.RECEIPTED},
    R.NEW: {Offer: R.OFFERED},
    R.LOOKING: {Preview: R.DECIDING},
    R.RECEIVING: {Finish: R.CHECKING},
}

LAST: Final = (Goodbye, Receipt, Abort)
"""The messages after which their speaker says nothing more: they end a FINAL record."""


def say(speaker: State, listener: State, message: Message) -> tuple[State, State] | None:
    """Return both states after `message`, or None if the speaker may not say it now."""
    kind = type(message)
    after = SAYS[speaker].get(kind)
    if after is None:
        return None
    return after, HEARS.get(listener, {}).get(kind, listener)
