"""Decides what is preserved of files beyond contents, modes and times: only what both sides ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import UsageError
from p2p_copy.files.attributes import is_root
from p2p_copy.options import Preserve
from p2p_copy.protocol.messages import Preserved

if TYPE_CHECKING:
    from collections.abc import Collection


_FLAGS = {  # not MODE: the sender always sends the mode, and the receiver alone decides about it
    Preserve.HARD_LINKS: Preserved.HARD_LINKS,
    Preserve.XATTRS: Preserved.XATTRS,
    Preserve.OWNER: Preserved.OWNER,
}


_IMPOSSIBLE = {
    Preserved.HARD_LINKS: "The file system here has no hard links, so each name becomes a file of its own.",
    Preserved.XATTRS: "This system, or its file system, has no extended attributes, so these are not kept.",
}

_ONLY_ROOT = "Only root can give files to others. Leave out 'owner' after `preserve`, or receive as root."
LOST = "The system here did not take all owners or extended attributes; everything else is complete."
UNSENT = "Some extended attributes here cannot be read, or are too many or too large, and were not sent; all else was."


def not_possible(preserve: Preserved) -> list[str]:
    """Return a sentence for each of these attributes that is not possible here."""
    return [sentence for flag, sentence in _IMPOSSIBLE.items() if flag in preserve]


def flags(chosen: Collection[Preserve]) -> Preserved:
    """Return the caller's choices as the wire has them."""
    chosen_flags = Preserved.NOTHING
    for one in chosen:
        chosen_flags |= _FLAGS.get(one, Preserved.NOTHING)
    return chosen_flags


def wanted(chosen: Collection[Preserve]) -> Preserved:
    """Return a receiver's choices as the wire has them.

    Raises:
        UsageError: they include owners, and this user is not root: only root can set owners.

    """
    if Preserve.OWNER in chosen and not is_root():
        raise UsageError(_ONLY_ROOT)
    return flags(chosen)


def not_asked_for(preserve: Preserved, who: str) -> list[str]:
    """Return a sentence for each of these attributes: this side asks for them, the other side (`who`) does not."""
    command = {"sender": "send", "receiver": "receive"}[who]
    return [
        f"The {who} was not started with '{command} `preserve` {one.value}', so that is not kept."
        for one, flag in _FLAGS.items()
        if flag in preserve
    ]
