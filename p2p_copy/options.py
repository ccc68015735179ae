"""What a caller may choose, as plain values; each may be given as the text that the command line takes, too."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

STATE_VARIABLE: Final = "P2P_COPY_STATE_DIR"
"""The environment variable that names the directory in which unfinished transfers are remembered."""

E = TypeVar("E", bound=Enum)


def choice(kind: type[E], given: Enum | str) -> E:
    """Return the member of `kind` that is given, itself or as its value.

    Raises:
        ValueError: it is none of them. The sentence lists them.

    """
    try:
        return kind(given)
    except ValueError:
        known = ", ".join(repr(one.value) for one in kind)
        raise ValueError(f"{given!r} is none of the choices for {kind.__name__}: {known}") from None


def choices(kind: type[E], given: Enum | str | Iterable[Enum | str]) -> tuple[E, ...]:
    """Return the members of `kind` that are given, one or several.

    Raises:
        ValueError: one is none of them.

    """
    if isinstance(given, Enum | str):
        return (choice(kind, given),)
    return tuple(choice(kind, one) for one in given)


class Links(Enum):
    """What the sender does with symbolic links that it meets inside a tree."""

    KEEP = "keep"
    """Send them as links if they stay inside the tree; report the others."""
    COPY = "copy"
    """Send what they point to."""
    SKIP = "skip"
    """Leave them out, silently."""


class Preserve(Enum):
    """What is kept of files beyond contents, times and the owner's permissions, if both sides ask for it."""

    HARD_LINKS = "hard-links"
    """Several names of one file stay names of one file."""
    XATTRS = "xattrs"
    """Extended attributes in the namespace of users."""
    OWNER = "owner"
    """User and group, and the mode; for a receiver that is root."""
    MODE = "mode"
    """All permission bits, also those that the receiver's umask would keep from group and others. The sender tells them
    in any case."""


class Conflict(Enum):
    """What the receiver does when a name exists already."""

    REFUSE = "refuse"
    """Keep what is there and report the file as not delivered."""
    OVERWRITE = "overwrite"
    """Replace a file by the new one, once the new one is complete."""
    RENAME = "rename"
    """Keep both: the new one gets a number."""
    SKIP = "skip"
    """Keep what is there and say so; not a failure."""


class Names(Enum):
    """Which names the receiver accepts."""

    PORTABLE = "portable"
    """Names that mean the same file on Linux, macOS and Windows."""
    SYSTEM = "system"
    """Whatever this file system can hold safely; control characters are refused all the same."""
