"""The messages of a transfer: one class for each message inside the encrypted records.

Sender to receiver:  Offer, Preview, Total, Page, Data, Hole, FileEnd, FileFail, Omitted, Finish, Goodbye, Abort
Receiver to sender:  Ask, Accept, Reject, Unwanted, Holds, Progress, Receipt, Abort

Entries get numbers in the order in which pages name them, from 0; later messages use the number. A tree
is named in pre-order with depths, so a name is always one component and never a path: see `Entry`.
docs/protocol.md section 6 is normative; the names there and here are the same.

No code changes a message after it was made. They are not frozen, since that takes longer for every message.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TypeAlias

from p2p_copy.value import NamedTuple, Value


class Kind(IntEnum):
    """What an entry is."""

    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3


class Preserved(IntFlag):
    """What of files is kept beyond contents, modes and times, if both sides ask for it."""

    NOTHING = 0
    HARD_LINKS = 1
    XATTRS = 2
    OWNER = 4


class Reason(IntEnum):
    """Why one entry was not delivered, or why a side gave up altogether."""

    OTHER = 0
    VANISHED = 1
    UNREADABLE = 2
    CHANGED = 3
    SPECIAL = 4
    SYMLINK_OUTSIDE = 5
    NAME = 6
    TOO_DEEP = 7
    EXISTS = 8
    SKIPPED = 9
    NOT_WRITABLE = 10
    UNSUPPORTED = 11
    NOT_WANTED = 12
    NO_SPACE = 13
    INTERRUPTED = 14
    MISBEHAVED = 15
    TOO_MUCH = 16
    EXCLUDED = 17
    DECLINED = 18
    ORIGINAL = 19
    PIPE = 20
    ITSELF = 23
    OWN = 24
    UNMADE = 25
    NOT_VERIFIED = 26

    @property
    def is_failure(self) -> bool:
        """Whether something is missing that should be there; False for what the user wanted to be left out."""
        return self not in _AS_ASKED


_AS_ASKED = frozenset({Reason.SKIPPED, Reason.EXCLUDED, Reason.UNMADE})


Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]
"""Extended attributes: names and values, in the order of the names, each once."""


class Owner(NamedTuple):
    """Owner and group of an entry: numbers, and names, which are empty if there are none."""

    uid: int
    gid: int
    user: str = ""
    group: str = ""


class Extra(NamedTuple):
    """Attributes that only some entries have, and only if they are `Preserved`.

    A file that is `named_again` may have more names, in later entries. The entry of such a name has the number of the
    first one as its `original`, and the same size. `xattrs` are extended attributes, by name in ascending order. In
    memory their digest may replace them (see `digest`), never on the wire.
    """

    named_again: bool = False
    original: int | None = None
    owner: Owner | None = None
    xattrs: Xattrs = ()
    xattrs_digest: bytes = b""


class Entry(NamedTuple):
    """One directory, file or symlink of the manifest.

    `depth` is 0 for what the user named. An entry of depth n lies in the last directory of depth n-1
    before it. `mode` holds the nine permission bits. `mtime_ns` counts from 1970, negative before.
    `size` is in bytes and 0 for all but files; `target` is empty for all but symlinks. It is a tuple because there may
    be millions of entries, and making a frozen dataclass takes three times as long.
    """

    kind: Kind
    depth: int
    name: str
    mode: int = 0
    mtime_ns: int = 0
    size: int = 0
    target: str = ""
    extra: Extra | None = None


class Offer(Value):
    """The sender's first message: its program and version, and how many links it asks for; 0 for no number.

    `preserve` is what it can send beyond contents, modes and times. With `pipe` it has one stream, and nothing else.
    `partial` means that it leaves out some of what lies in its directories, as its user wants.
    """

    program: str
    links: int = 0
    preserve: Preserved = Preserved.NOTHING
    pipe: bool = False
    partial: bool = False


class Accept(Value):
    """The receiver's answer: its program, whether it accepts portable names only, and what it wants.

    With `holds`, every `Page` is answered by a `Holds`, because something of an earlier conversation is here or not
    everything is wanted. `links` is the most links that this conversation will have, `preserve` what the receiver wants
    of what was offered. With `pipe`, this side takes a stream only: the sender's, or a single file of it. `marker` is
    the name of a file that lies in the output directory as long as this conversation lasts; empty if there is none.
    `rate` is the most bytes per second that this side wants to be sent; 0 for no limit.
    """

    program: str
    portable_names: bool
    holds: bool = False
    links: int = 1
    preserve: Preserved = Preserved.NOTHING
    pipe: bool = False
    marker: str = ""
    rate: int = 0


class Ask(Value):
    """Asks for a preview, so that the receiver's user can decide. Without `portable_names` it may have any names."""

    portable_names: bool


class Preview(Value):
    """What the sender has, in short: a hint, never relied upon.

    `files` and `size` are the sums of all if they are `counted`; else they are less, and a `Total` may follow. `names`
    is how many entries there are at depth 0. `entries` has the first of them, and some of what lies in each.
    """

    files: int
    size: int
    counted: bool
    names: int
    entries: tuple[Entry, ...]


class Total(Value):
    """How many files and bytes there are in all, for the progress line: a hint, never relied upon."""

    files: int
    size: int


class Page(Value):
    """The next entries of the manifest, in order."""

    entries: tuple[Entry, ...]


class Data(Value):
    """Bytes of the file with number `index`, from `offset`."""

    index: int
    offset: int
    data: bytes | memoryview


class Hole(Value):
    """`size` zero bytes of the file with number `index`, from `offset`, that take no space on the sender's disk."""

    index: int
    offset: int
    size: int


class FileEnd(Value):
    """The file is complete; `digest` is its digest."""

    index: int
    digest: bytes


class WholeFile(Value):
    """A small file: on the wire its only `Data`, followed by its `FileEnd`."""

    index: int
    data: bytes | memoryview
    digest: bytes


class FileFail(Value):
    """The file cannot be sent whole, and the receiver discards what came of it."""

    index: int
    reason: Reason


class Omitted(Value):
    """Something that the user named or that lies in the tree is not in the manifest.

    `path` is for display, and to be compared with patterns. These messages are numbered from 0.
    """

    path: str
    reason: Reason
    directory: bool = False


class Finish(Value):
    """Everything was sent: entries in the manifest, files and bytes sent whole, things not sent, root digest."""

    entries: int
    files: int
    size: int
    failures: int
    root: bytes


class Goodbye(Value):
    """The sender has the receipt. Its last message."""


class Reject(Value):
    """The receiver does not take this entry, nor anything in it if it is a directory; `path` is for display."""

    index: int
    reason: Reason
    path: str


class Unwanted(Value):
    """The receiver does not want what the `Omitted` with this number names, so nothing is missing."""

    number: int


class Held(Value):
    """The receiver has the first `size` bytes of the file with number `index`; `digest` is their file digest."""

    index: int
    size: int
    digest: bytes


class Holds(Value):
    """What the receiver has of the entries before number `end` that no earlier `Holds` was about.

    `same` are runs of entries, each its first number and how many: the files in them are up to date at the receiver,
    and nothing of them is sent. `compare` are the numbers of files of which the receiver wants to know the digests of
    the segments first, because it has an old one.
    """

    end: int
    files: tuple[Held, ...]
    same: tuple[tuple[int, int], ...] = ()
    compare: tuple[int, ...] = ()


class SegmentDigests(Value):
    """The digests of segments of the file with number `index`, from segment number `first` on, joined."""

    index: int
    first: int
    digests: bytes


class SameSegments(Value):
    """Which of the segments in a `SegmentDigests` the receiver has in the same place of its old file.

    `whole` means that the old file is the same as the new one.
    """

    index: int
    first: int
    same: tuple[bool, ...]
    whole: bool


class Kept(Value):
    """One segment of the file with number `index`, `size` bytes from `offset`, which the receiver's old file has."""

    index: int
    offset: int
    size: int


class Progress(Value):
    """How many files are complete at the receiver, bytes written, and records of the sender consumed, so far."""

    files: int
    size: int
    records: int


class Receipt(Value):
    """The receiver confirms that it has what was sent, verified. Its last message.

    `files` of `size` bytes in all are complete under their names; `rejected` and `skipped` entries are not. `root` is
    the root digest, which the receiver has computed itself.
    """

    files: int
    size: int
    rejected: int
    skipped: int
    root: bytes


class Abort(Value):
    """This side gives up; `sentence` is for the other side's user. Its last message."""

    reason: Reason
    sentence: str


Message: TypeAlias = (
    Offer | Ask | Preview | Accept | Total | Page | Data | Hole | FileEnd | WholeFile | FileFail | Omitted | Finish
    | Goodbye | Reject | Unwanted | Holds | Progress | Receipt | Abort | SegmentDigests | SameSegments | Kept
)  # fmt: skip
