"""Sentences for people: why an entry does not arrive, and why a side gave up, as the reader sees it."""

from __future__ import annotations

from typing import Final

from p2p_copy import units
from p2p_copy.errors import (
    Declined,
    NoSpace,
    NotVerified,
    OutputNotWritable,
    P2PCopyError,
    PeerFailed,
    PeerLost,
    PeerMisbehaved,
    PipeFailed,
    SystemFailed,
    TooMuch,
)
from p2p_copy.observer import UNANSWERED
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Abort, Reason

SENTENCES: Final = {
    Reason.OTHER: "not delivered",
    Reason.VANISHED: "does not exist, or no longer, at the sender",
    Reason.UNREADABLE: "cannot be read at the sender",
    Reason.CHANGED: "changed while it was being sent",
    Reason.SPECIAL: "is not a regular file, directory or symlink",
    Reason.SYMLINK_OUTSIDE: "is a symlink that leads out of its tree; `symlinks` copy sends what it points to",
    Reason.NAME: "has a name that the receiver cannot take; 'receive `names` system' takes more",
    Reason.TOO_DEEP: "lies too deep, or its path is too long",
    Reason.EXISTS: "already exists at the receiver; see 'receive `on_conflict`'",
    Reason.SKIPPED: "already exists at the receiver and was left as it is",
    Reason.NOT_WRITABLE: "cannot be written at the receiver",
    Reason.UNSUPPORTED: "is of a kind that the receiver's file system does not have",
    Reason.NOT_WANTED: "was not wanted by the receiver",
    Reason.NO_SPACE: "does not fit on the receiver's disk",
    Reason.INTERRUPTED: "was interrupted",
    Reason.MISBEHAVED: "broke the protocol",
    Reason.TOO_MUCH: "is larger than the receiver takes, or one too many",
    Reason.EXCLUDED: "was left out, as asked",
    Reason.DECLINED: "was declined",
    Reason.ORIGINAL: "is another name (hard link) of a file that was not delivered",
    Reason.PIPE: "cannot go through a pipe",
    Reason.ITSELF: "is where the receiver writes, and is not copied into itself; choose another `out`, or `exclude` it",
    Reason.UNMADE: "was wanted only for what is in it, and nothing in it was",
    Reason.NOT_VERIFIED: "was not sent, because the words of the two sides were not confirmed",
    Reason.OWN: "belongs to p2p-copy itself, and holds its secrets",
}


NEW_CODE: Final = (
    "Nothing was transferred. Start both sides again with a new code, told where others cannot read it."
)


def unfinished(count: int) -> str:
    """Return what a sender's user is told about the unfinished files of p2p-copy that were left out."""
    return f"Left out: {units.count(count, 'unfinished file')} of p2p-copy itself (.p2p-copy-*)."


def _is_unanswered(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_unanswered, error.exceptions))
    return UNANSWERED in getattr(error, "__notes__", ())


def farewell(error: BaseException) -> Abort:
    """Return what this side tells the other about its own failure, without any path of this machine."""
    match error:
        case P2PCopyError(transient=True):
            return Abort(Reason.INTERRUPTED, "it comes back.")
        case NotVerified():
            return Abort(Reason.NOT_VERIFIED, "its user did not confirm the words.")
        case Declined():
            return Abort(Reason.DECLINED, "it was asked, and declined.")
        case NoSpace():
            return Abort(Reason.NO_SPACE, "its disk does not have enough space.")
        case TooMuch(files=int()):
            what = f"no more than {error.files} files, directories and links in all"
            return Abort(Reason.TOO_MUCH, f"it takes {what} (`max_files`), and there is more.")
        case TooMuch():
            limit = "" if error.limit is None else f"no more than {error.limit} bytes in all"
            return Abort(Reason.TOO_MUCH, f"it takes {limit or 'less'} (`max_size`), and there is more.")
        case OutputNotWritable():
            return Abort(Reason.NOT_WRITABLE, "its output directory cannot be written to.")
        case PipeFailed():
            return Abort(Reason.PIPE, error.told)
        case PeerMisbehaved():
            return Abort(Reason.MISBEHAVED, f"it refuses what it was sent. {error}")
        case SystemFailed():  # started again, it goes on
            return Abort(Reason.INTERRUPTED, "its machine could not give it what it needs.")
        case P2PCopyError():
            return Abort(Reason.OTHER, "it cannot go on. Its own last message says why.")
        case Exception() if _is_unanswered(error):
            return Abort(Reason.OTHER, "the program that runs it failed to answer a question.")
        case Exception():
            return Abort(Reason.OTHER, "it met an unexpected error.")
        case _:
            return Abort(Reason.INTERRUPTED, "it was interrupted.")


def end_of_stream(error: BaseException) -> Abort:
    """Return what to say when a stream stops for this error.

    Only a loss of the link is transient: a side that is stopped cannot resume a stream later.
    """
    lost = isinstance(error, P2PCopyError) and error.transient
    if not lost and (isinstance(error, SystemFailed) or not isinstance(error, Exception)):
        return Abort(Reason.PIPE, "it was stopped, and what goes through a pipe cannot be resumed later.")
    return farewell(error)


def restarted_error(who: str) -> PipeFailed:
    """Return the error that means that `who`, "sender" or "receiver", was started again in the middle of a stream."""
    what = f"he {who} was started again in the middle of a pipe, which cannot be resumed."
    return PipeFailed(f"T{what} Start both sides again.", f"t{what} Start both sides again.")


def given_up(message: Abort, who: str) -> P2PCopyError:
    """Return the error that the other side's Abort is here; `who` is "sender" or "receiver"."""
    if message.reason is Reason.PIPE:
        return PipeFailed(f"The {who} gave up: {escape(message.sentence)}")
    if message.reason is Reason.INTERRUPTED:
        return PeerLost(f"The {who} was stopped before the transfer was complete.")
    if message.reason is Reason.NOT_VERIFIED:
        return NotVerified(
            f"The {who}'s user did not confirm that both sides show the same words. {NEW_CODE}"
        )
    return PeerFailed(f"The {who} gave up: {escape(message.sentence)}")
