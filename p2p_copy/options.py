"""What a caller may choose: the enums, and the options of one transfer, made once and passed on whole.

Options are checked when they are made, so that a wrong one is refused before anything is opened or called. A choice
may be given as its text, and one value in place of several, as configuration files have them; the object holds enums
and tuples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from os import PathLike
from typing import TYPE_CHECKING, Final, TypeVar

from p2p_copy.units import KIB
from p2p_copy.value import FrozenValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATE_VARIABLE: Final = "P2P_COPY_STATE_DIR"
"""The environment variable that names the directory of unfinished transfers."""

PEER_WAIT: Final = 3600.0
"""Seconds that a client waits for the other side unless told otherwise."""

PATIENCE: Final = 12 * 3600.0
"""Seconds for which a side that lost the other side, or the relay, tries to reconnect unless told otherwise: a
night."""

LEAST_RATE: Final = 16 * KIB
"""Least bytes per second that a client may limit itself to (--limit-rate), and that a receiver may ask of a sender: a
shortest chunk takes four seconds then, so a transfer moves and can be stopped."""

STREAM_NAME: Final = "stdin"
"""What standard input is called at a receiver, unless told otherwise."""

E = TypeVar("E", bound=Enum)


class Standard(Enum):
    """The standard streams of this process, as the ends of a transfer. They are used to their end and not closed."""

    INPUT = "stdin"
    """Is sent as a stream, in place of chunks."""
    OUTPUT = "stdout"
    """Takes a stream or one file, in place of a directory."""


class Symlinks(Enum):
    """What the sender does with symbolic links that it finds inside a tree."""

    KEEP = "keep"
    """Send them as symlinks if they stay inside the tree; report the others."""
    COPY = "copy"
    """Send what they point to."""
    SKIP = "skip"
    """Leave them out, and do not report them."""


class Preserve(Enum):
    """What is kept of files beyond contents, times and the owner's permissions, if both sides ask for it."""

    HARD_LINKS = "hard-links"
    """Several names of one file stay names of one file."""
    XATTRS = "xattrs"
    """Extended attributes in the `user` namespace."""
    OWNER = "owner"
    """User and group, and the mode. The receiver must be root."""
    MODE = "mode"
    """All permission bits, also those that the receiver's umask would take from group and others. The sender sends the
    mode in any case, so only the receiver need ask for it."""


class Conflict(Enum):
    """What the receiver does when a name exists already."""

    REFUSE = "refuse"
    """Keep the existing file and report the new one as not delivered."""
    OVERWRITE = "overwrite"
    """Replace the existing file once the new one is complete."""
    RENAME = "rename"
    """Keep both: the new one gets a number."""
    SKIP = "skip"
    """Keep the existing file and say so. This is not a failure."""
    UPDATE = "update"
    """Keep the existing file if it is the same, which counts as delivered; else replace it once the new one is
    complete."""
    ASK = "ask"
    """Ask for each file whether to replace the existing one; if not, do as SKIP does."""


class Names(Enum):
    """Which names the receiver accepts."""

    PORTABLE = "portable"
    """Names that mean the same file on Linux, macOS and Windows."""
    SYSTEM = "system"
    """Any name that this file system can hold safely; control characters are refused all the same."""


MAX_RELAYS: Final = 8
"""Relays that a transfer can use: while a side waits it has a connection to each of them."""


@dataclass(frozen=True)
class RelayAccess:
    """How to reach one relay: by which proxy, how to check its certificate, and the token that it may want.

    Attributes:
        url: the relay's address, ws:// or wss://.
        ca_file: PEM file with certificates to trust besides the system's.
        pin: SHA-256 of the relay's public key, in place of authorities; see `transport.certificate`.
        token: access token, for relays that want one. It is not sent where others could read it (ws://).
        proxy: address of the proxy, which may have a password; `none` for no proxy; None for what `variables` say.
        variables: the environment, with the usual variables for proxies; a client puts that of the process here.

    Raises:
        TypeError: `ca_file` is no path, or `proxy` no text.

    """

    url: str
    ca_file: str | PathLike[str] | None = None
    token: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    pin: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.proxy, str | None):
            raise TypeError(
                f"a proxy is a str such as 'http://proxy:3128', and not {type(self.proxy).__name__}"
            )
        if not isinstance(self.ca_file, str | PathLike | None):
            raise TypeError(f"a path is a str or an os.PathLike, and not {type(self.ca_file).__name__}")


class TransferOptions(FrozenValue, kw_only=True):
    """What both sides can choose.

    Attributes:
        preserve: what to keep of files beyond contents, times and the owner's permissions. Both sides must name it,
            except MODE, which only the receiver need name.
        only: patterns, as in a .gitignore, over paths inside the transfer: transfer nothing else.
        exclude: patterns of what to leave out, even if `only` matches it.
        receipt: file to write at the end, with which the transfer can be verified later. It must not exist.
        wait: seconds to wait for the other side.
        patience: seconds for which to reconnect when the other side or the relay was lost; 0 for not at all.
        limit_rate: bytes per second, over all links together, that this side sends or receives at most; `LEAST_RATE` or
            more, None for no limit.
        links: links to divide the transfer among, 1 to `protocol.limits.MAX_LINKS`; None for as many as make it faster.

    Raises:
        ValueError: a choice is none of those that exist; the message lists them. Or a number is out of range.

    """

    preserve: tuple[Preserve, ...] = ()
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    receipt: str | PathLike[str] | None = None
    wait: float = PEER_WAIT
    patience: float = PATIENCE
    limit_rate: int | None = None
    links: int | None = None

    def __post_init__(self) -> None:
        if self.limit_rate is not None and self.limit_rate < LEAST_RATE:
            raise ValueError(
                f"a limit of the rate is {LEAST_RATE} bytes per second or more, or None for no limit"
            )
        object.__setattr__(self, "preserve", _choices(Preserve, self.preserve))
        for name in ("only", "exclude"):
            given: str | Iterable[str] = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))


class SendOptions(TransferOptions, kw_only=True):
    """How to send. See `TransferOptions` for what both sides have.

    Attributes:
        symlinks: what to do with symbolic links inside a directory.
        name: what standard input is called at a receiver that makes a file of it.

    """

    symlinks: Symlinks = Symlinks.KEEP
    name: str = STREAM_NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "symlinks", _choice(Symlinks, self.symlinks))


class ReceiveOptions(TransferOptions, kw_only=True):
    """How to receive. See `TransferOptions` for what both sides have.

    Attributes:
        conflict: what to do when a name exists already.
        names: which names to accept.
        max_size: most bytes of all files together, 0 or more; None for what fits on the disk.
        max_files: most files, directories and symlinks together, including those that the sender cannot send, 1 or
            more; None for no limit.
        checksum: with `Conflict.UPDATE`, a file is the same if its contents are, whatever its time; both sides read it.
        delete: delete, at the end, what the sender does not have in the directories that it has sent. Only if all was
            delivered; with `Conflict.UPDATE` or `OVERWRITE`.
        reverify: when resuming, read again what is here from earlier runs instead of trusting the journal.

    Raises:
        ValueError: a limit is out of range, or `checksum` or `delete` does not go with `conflict`.

    """

    conflict: Conflict = Conflict.REFUSE
    names: Names = Names.PORTABLE
    max_size: int | None = None
    max_files: int | None = None
    checksum: bool = False
    delete: bool = False
    reverify: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "conflict", _choice(Conflict, self.conflict))
        object.__setattr__(self, "names", _choice(Names, self.names))
        if self.max_size is not None and self.max_size < 0:
            raise ValueError("the most bytes to receive are 0 or more, or None for no limit")
        if self.max_files is not None and self.max_files < 1:
            raise ValueError("the most files to receive are 1 or more, or None for no limit")
        if self.checksum and self.conflict is not Conflict.UPDATE:
            raise ValueError("`checksum` says what `update` compares, and has no meaning without it")
        if self.delete and self.conflict not in {Conflict.UPDATE, Conflict.OVERWRITE}:
            raise ValueError(
                "`delete` needs `update` or `overwrite`: else files differ from the sender's anyway"
            )

    @property
    def portable_names(self) -> bool:
        """Whether only names that work on all systems are accepted."""
        return self.names is Names.PORTABLE


def _choice(kind: type[E], given: Enum | str) -> E:
    """Return the member of `kind` that is given, itself or as its value.

    Raises:
        ValueError: it is none of them. The message lists them.

    """
    try:
        return kind(given)
    except ValueError:
        known = ", ".join(repr(one.value) for one in kind)
        raise ValueError(f"{given!r} is none of the choices for {kind.__name__}: {known}") from None


def _choices(kind: type[E], given: Enum | str | Iterable[Enum | str]) -> tuple[E, ...]:
    """Return the members of `kind` that are given, one or several.

    Raises:
        ValueError: one is none of them.

    """
    if isinstance(given, Enum | str):
        return (_choice(kind, given),)
    return tuple(_choice(kind, one) for one in given)
