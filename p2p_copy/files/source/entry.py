"""What a walk has found, and what is known of a file with several names. Values only; nothing here touches a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.files.system import identity_of

if TYPE_CHECKING:
    import os

    from p2p_copy.files.system import Identity
    from p2p_copy.protocol.messages import Entry


class SourceEntry:
    """Something that can be sent.

    Attributes:
        entry: what the manifest says of it.
        path: where it is, for the operating system.
        parent: the directory in which it was found, None for what the user named.
        followed: `path` is, or may be, a link that leads to it.
        identity: device, inode, size and time (ns) as the walk has seen them.
        names: how many links the file system has to it.
        owner: numbers of its user and group.
        index: its number in the manifest; the consumer's, -1 until set.
        first: what is known of it under its first name, if it has several and they are kept; the consumer's.
        pruned: set by the consumer of the walk to a directory of which it wants no more.

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
        self.identity: Identity = identity_of(status)
        self.names = status.st_nlink
        self.owner = status.st_uid, status.st_gid
        self.index = -1
        self.first: FirstName | None = None
        self.pruned = False

    @property
    def inner_path(self) -> str:
        """Its path inside the transfer, as the receiver names it."""
        name = self.entry.name
        return f"{self.parent.inner_path}/{name}" if self.parent is not None else name


class FirstName:
    """The first of a file's names, and the one under which its contents were sent.

    Attributes:
        index: the first one's number in the manifest.
        sent: the number of the last one that was sent with contents; the first one's until then.
        path: where that lies; it is, or may be, a link if it is `followed`.
        digest: that of the file, once it was sent whole.
        gone: what was sent is not what the receiver took, or nothing could be sent.

    """

    __slots__ = ("digest", "followed", "gone", "identity", "index", "path", "sent")

    def __init__(self, found: SourceEntry) -> None:
        self.index = self.sent = found.index
        self.identity = found.identity
        self.path = found.path
        self.followed = found.followed
        self.digest: bytes | None = None
        self.gone = False
