"""Whether there is room for what a sender announces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.errors import NoSpace, TooMuch

if TYPE_CHECKING:
    from p2p_copy.files.target.target import Target
    from p2p_copy.protocol.manifest import Manifest


def check_room(manifest: Manifest, target: Target, max_size: int | None) -> None:
    """Find out whether all that is still to come has room on the disk, and all of it below `max_size` bytes.

    Raises:
        TooMuch: it is more than `max_size`.
        NoSpace: the disk has not.

    """
    if max_size is not None and manifest.declared > max_size:
        raise TooMuch(limit=max_size)
    if manifest.owed > target.free_bytes():
        raise NoSpace(f"The sender announces {manifest.owed} more bytes, but the disk here has less room.")
