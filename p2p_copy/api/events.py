"""What a program is told of a transfer while it runs. Times are in seconds, sizes in bytes of file contents.

Paths and sentences are escaped: they can be printed, and no control character of a file name reaches a terminal.
"""

from __future__ import annotations

from typing import TypeAlias

from p2p_copy.value import FrozenValue


class Connecting(FrozenValue):
    """This side is connecting to a relay. With several relays this comes for each that is tried.

    Attributes:
        relay: scheme, host and port.
        proxy: the same of the proxy on the way; None for a direct connection.

    """

    relay: str
    proxy: str | None = None


class Waiting(FrozenValue):
    """This side is connected to a relay and waits for the other side. With several relays this comes for each.

    Attributes:
        relay: scheme, host and port.
        seconds: how long it waits.

    """

    relay: str
    seconds: float


class Paired(FrozenValue):
    """Both sides are connected and their codes match. This comes again after each `Reconnecting`.

    Attributes:
        words: two words that both sides show. If the other side shows others, an attacker who has the code is between
            the two sides.
        peer_verifies: the other side asks its user whether both show these words, before anything is transferred.
        relay: scheme, host and port of the relay at which they have met.

    """

    words: tuple[str, str]
    peer_verifies: bool = False
    relay: str = ""


class Asked(FrozenValue):
    """The receiver decides whether to accept; this side, the sender, waits for the answer."""


class Accepted(FrozenValue):
    """The receiver has accepted."""


class NotAccepted(FrozenValue):
    """The receiver has declined; this side, the sender, waits for another receiver with the same code.

    Attributes:
        seconds: how long it waits.

    """

    seconds: float


class Resumed(FrozenValue):
    """The receiver has a part of the transfer from before this connection, which is not sent again.

    Attributes:
        size: bytes that are known to be there so far; `Progress.resumed` may become more.

    """

    size: int


class Progress(FrozenValue):
    """How far the transfer is. If several wait to be read, only the last one is kept.

    Attributes:
        files: files that are complete at the receiver.
        size: bytes that the receiver has written, or had before.
        resumed: those of them that it had before this connection.
        total_files: how many files the sender has; None while it has not counted them.
        total_size: their bytes; likewise.
        links: connections that carry the transfer.
        path: the file under way, as the sender names it; empty if none is, and of a stream.

    """

    files: int = 0
    size: int = 0
    resumed: int = 0
    total_files: int | None = None
    total_size: int | None = None
    links: int = 1
    path: str = ""


class Stalled(FrozenValue):
    """Nothing moves.

    Attributes:
        sentence: what the transfer waits for, without a full stop.
        seconds: how long nothing has moved.

    """

    sentence: str
    seconds: float


class Moving(FrozenValue):
    """Data moves again after a stall."""


class Reconnecting(FrozenValue):
    """The other side or the relay was lost, and this side tries to reconnect. This comes again after each failed try.

    Attributes:
        sentence: what was lost, or why the last try failed.
        seconds: for how long it still tries.
        pause: seconds until the next try.

    """

    sentence: str
    seconds: float
    pause: float


class Problem(FrozenValue):
    """One entry is not delivered; the transfer goes on.

    Attributes:
        path: which one, as the sender names it.
        reason: why, to be read after the path.

    """

    path: str
    reason: str


class Skipped(FrozenValue):
    """One entry was left as it is at the receiver, because the receiver asked for that.

    Attributes:
        path: which one, as the sender names it.

    """

    path: str


class Deleted(FrozenValue):
    """This side, the receiver, has deleted something because the sender does not have it.

    Attributes:
        path: its path below the output directory.

    """

    path: str


class Notice(FrozenValue):
    """Something that the person who runs the program should know.

    Attributes:
        sentence: one or more sentences.

    """

    sentence: str


class Verifying(FrozenValue):
    """The receiver has all that was sent; the sender waits for its receipt."""


class Missed(FrozenValue):
    """The reader was so slow that events were dropped; those before and after are in order.

    Attributes:
        count: how many, in this place.

    """

    count: int


Event: TypeAlias = (
    Connecting
    | Waiting
    | Paired
    | Asked
    | Accepted
    | NotAccepted
    | Resumed
    | Progress
    | Stalled
    | Moving
    | Reconnecting
    | Problem
    | Skipped
    | Deleted
    | Notice
    | Verifying
    | Missed
)
