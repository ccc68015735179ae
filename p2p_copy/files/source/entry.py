"""The values that describe what a walk reads and finds, and a file with several names. Nothing here touches a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files.selection import EVERYTHING, Selection
from p2p_copy.options import Symlinks
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from p2p_copy.files.system import Identity
    from p2p_copy.protocol.messages import Entry


class SourceTrees(NamedTuple):
    """What the user wants to send: files, and trees with all that is in them.

    Attributes:
        paths: what the user has named.
        symlinks: what becomes of symlinks inside the trees.
        selection: which part is wanted.
        portable_names: whether names are left out that cannot exist on every system; the receiver decides.

    """

    paths: Sequence[str]
    symlinks: Symlinks = Symlinks.KEEP
    selection: Selection = EVERYTHING
    portable_names: bool = True


class SourceEntry:
    """A file, directory or symlink that can be sent.

    Attributes:
        entry: its entry in the manifest.
        path: its path on this machine.
        parent: the directory in which it was found, None for what the user named.
        followed: `path` is, or may be, a symlink to it.
        identity: device, inode, size and time (ns) when the walk found it.
        names: how many hard links it has.
        owner: ids of its user and group.
        index: its number in the manifest, -1 until the consumer of the walk sets it.
        first: what is known of its first name, if it has several and hard links are kept; set by `FirstNames`.
        pruned: set by the consumer of the walk to a directory of which it wants no more entries.

    """

    __slots__ = (
        "entry",
        "first",
        "followed",
        "identity",
        "index",
        "names",
        "owner",
        "parent",
        "path",
        "pruned",
    )

    def __init__(
        self, entry: Entry, path: str, parent: SourceEntry | None, status: os.stat_result, *, followed: bool
    ) -> None:
        self.entry = entry
        self.path = path
        self.parent = parent
        self.followed = followed
        self.identity: Identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        self.names = status.st_nlink
        self.owner = status.st_uid, status.st_gid
        self.index = -1
        self.first: FirstName | None = None
        self.pruned = False

    @property
    def inner_path(self) -> str:
        """Its path inside the transfer, which is the same at both sides."""
        name = self.entry.name
        return f"{self.parent.inner_path}/{name}" if self.parent is not None else name


class FirstName:
    """The first of a file's names, and the name under which its contents were sent.

    Attributes:
        index: the number of the first name in the manifest.
        sent: the number of the last name that was sent with contents; until then `index`.
        path: the path of the name `sent`; if `followed`, it may be a symlink.
        digest: the digest of the file, once it was sent whole.
        gone: the receiver has rejected what was sent, or it could not be sent.

    """

    __slots__ = ("digest", "followed", "gone", "identity", "index", "path", "sent")

    def __init__(self, found: SourceEntry) -> None:
        self.index = self.sent = found.index
        self.identity = found.identity
        self.path = found.path
        self.followed = found.followed
        self.digest: bytes | None = None
        self.gone = False
