"""Every error that a user may see, with its exit code.

    P2PCopyError
    ├── RelayError                    the relay, or the way to it
    │   ├── RelayUnreachable      4   no connection to the relay
    │   ├── NotTheRelay               something answers, but not the relay as its address says
    │   │   ├── CertificateNotTrusted 5   the relay's certificate was refused
    │   │   ├── RelayExpectsTLS   6   ws:// was used for a port that speaks TLS
    │   │   ├── RelayWithoutTLS   7   wss:// was used for a port that does not speak TLS
    │   │   ├── NotARelay         8   something answers there, but it is not a relay of ours
    │   │   ├── ProxyForbids     30   the proxy does not let this side connect to the relay
    │   │   └── NotAProxy        31   something answers at the proxy's address, but it is no proxy
    │   ├── ProxyUnreachable     28   no connection to the proxy on the way to the relay
    │   ├── ProxyWantsLogin      29   the proxy wants a login, or another one
    │   ├── RelayRefused          9   the relay refused this connection
    │   └── RelayLost            13   the connection to the relay broke in the middle
    ├── PeerError                     the other side, or what the two sides agree on
    │   ├── PeerTimeout          10   the other side did not connect in time
    │   ├── WrongCode            11   the two sides hold different secrets, or a client guessed
    │   ├── PeerLost             12   the other side went away in the middle
    │   ├── PeerFailed           14   the other side gave up and said why
    │   ├── PeerMisbehaved       15   the other side broke the protocol
    │   ├── IncompatiblePeer     20   the two sides' versions do not understand each other
    │   └── Declined             23   the receiver's user declined
    │       └── NotVerified      23   a user did not confirm that both sides show the same words
    ├── LocalError                    this side
    │   ├── UsageError            2   the command, the configuration or the code has the wrong form
    │   │   ├── CodeTypo          2   a generated code was mistyped (in protocol.code)
    │   │   └── NotSaved          2   the transfer cannot be saved
    │   ├── NoSpace              16   this side's disk is full
    │   ├── OutputNotWritable    17   this side cannot write into the output directory
    │   ├── NothingToSend        18   no source exists or can be read
    │   ├── CannotListen         19   the relay cannot open its port or read its certificate
    │   ├── VerificationFailed   21   a directory differs from a receipt
    │   ├── DeadlineReached      22   the deadline was reached; the transfer can be resumed later
    │   ├── SystemFailed         25   this machine has no more open files, threads or memory, or refuses something else
    │   ├── TooMuch              26   the sender has more than this side takes (`max_size`, `max_files`)
    │   └── ResultNotWritten     27   the result of the command could not be written, for example on a full disk
    ├── PartialTransfer           3   some files were not delivered; all others were, and are complete
    └── PipeFailed               24   standard input or output of one side ended early, or cannot be resumed

The last two name no side: either may be the cause.

Exit code 0 is success, 1 a bug, 130 and 143 an interrupt, 141 a reader that closed its pipe. A class' docstring is the
sentence that the user reads when nothing more exact is known: what happened, on whose side, what to try. Error texts
have no code, no key and no unescaped file name. Options stand in backquotes, by their names in Python; the command line
shows them as its own.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

from p2p_copy.value import FrozenValue


class P2PCopyError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1
    transient: bool = False
    """Whether the cause may pass: then two sides that have met reconnect and resume."""

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or (type(self).__doc__ or "").strip())


class RelayError(P2PCopyError):
    """The relay, or the way to it, failed."""


class NotTheRelay(RelayError):
    """What answers is not the relay, or not as its address says.

    If the relay was reached before, this is transient: a network that wants a login may answer in its place.
    """


class PeerError(P2PCopyError):
    """The other side failed, or the two sides do not agree."""


class LocalError(P2PCopyError):
    """This side failed."""


class UsageError(LocalError):
    """An argument, a file or the code has the wrong form, or cannot be used here."""

    exit_code = 2


class NotSaved(UsageError):
    """The transfer cannot be saved, so another process could not resume it. Choose another `state_dir`."""


class Failure(FrozenValue):
    """One entry that was not delivered.

    Attributes:
        path: which one, as the sender names it, escaped.
        reason: why, to be read after the path.

    """

    path: str
    reason: str


class PartialTransfer(P2PCopyError):
    """Some files were not delivered."""

    exit_code = 3

    def __init__(self, sentence: str | None = None, *, failures: tuple[Failure, ...] = ()) -> None:
        """`failures` are the first of what was not delivered, where this is known."""
        super().__init__(sentence)
        self.failures = failures


class RelayUnreachable(RelayError):
    """The relay cannot be reached. Check its address, your network and whether the relay runs."""

    exit_code = 4
    transient = True


class CertificateNotTrusted(NotTheRelay):
    """The relay's certificate is not trusted here. Check the address, or name the authority with `ca_file`."""

    exit_code = 5


class RelayExpectsTLS(NotTheRelay):
    """That port speaks TLS. Use wss:// instead of ws:// in the relay's address."""

    exit_code = 6


class RelayWithoutTLS(NotTheRelay):
    """That port does not speak TLS. Use ws:// instead of wss://, or check the port."""

    exit_code = 7


class NotARelay(NotTheRelay):
    """Something answers at that address, but it is not a p2p-copy relay. Check host, port and path."""

    exit_code = 8


class ProxyUnreachable(RelayError):
    """The proxy cannot be reached. Check `proxy`, or HTTPS_PROXY in the environment, and whether the proxy runs."""

    exit_code = 28
    transient = True


class ProxyWantsLogin(RelayError):
    """The proxy wants a user and a password, or refuses those in its address."""

    exit_code = 29


class ProxyForbids(NotTheRelay):
    """The proxy does not allow a connection to the relay. Its operator can; most allow port 443."""

    exit_code = 30


class NotAProxy(NotTheRelay):
    """What answers at the proxy's address is no proxy, or not of the kind that its address says."""

    exit_code = 31


class RelayRefused(RelayError):
    """The relay refused this connection."""

    exit_code = 9

    def __init__(self, sentence: str | None = None, *, transient: bool = False) -> None:
        """`transient`: this relay, or another one in its place, may accept in a while."""
        super().__init__(sentence)
        self.transient = transient


class PeerTimeout(PeerError):
    """The other side did not connect in time. Check that both sides use the same relay and the same code."""

    exit_code = 10
    transient = True


class WrongCode(PeerError):
    """The codes do not match (a typo, or someone guessing). Nothing was sent; start again with a new code."""

    exit_code = 11


class PeerLost(PeerError):
    """The other side disconnected before the transfer was complete."""

    exit_code = 12
    transient = True


class RelayLost(RelayError):
    """The connection to the relay broke before the transfer was complete."""

    exit_code = 13
    transient = True


class PeerFailed(PeerError):
    """The other side could not continue."""

    exit_code = 14


class PeerMisbehaved(PeerError):
    """The other side broke the protocol; nothing more is accepted from it."""

    exit_code = 15


class NoSpace(LocalError):
    """There is not enough space on the disk here."""

    exit_code = 16


class OutputNotWritable(LocalError):
    """The output directory here cannot be written to."""

    exit_code = 17


class NothingToSend(LocalError):
    """None of the named files exists or can be read here."""

    exit_code = 18


class CannotListen(LocalError):
    """The relay cannot start here."""

    exit_code = 19


class IncompatiblePeer(PeerError):
    """The two sides run versions of p2p-copy that do not understand each other. Upgrade the older one."""

    exit_code = 20


class VerificationFailed(LocalError):
    """The directory differs from the receipt."""

    exit_code = 21


class DeadlineReached(LocalError):
    """The deadline was reached, and the transfer was stopped. What is done is kept."""

    exit_code = 22


class Declined(PeerError):
    """Declined. The sender is still waiting; you can use the same code again."""

    exit_code = 23


class NotVerified(Declined):
    """The words of the two sides were not confirmed, so another client may be between them. Nothing was transferred."""


class PipeFailed(P2PCopyError):
    """Standard input or output was not transferred to its end."""

    exit_code = 24

    def __init__(self, sentence: str | None = None, told: str = "its pipe cannot go on.") -> None:
        """`sentence` is for this side's user; the other side's user reads `told`, after "The sender gave up:"."""
        super().__init__(sentence)
        self.told = told


class SystemFailed(LocalError):
    """This machine lacks what p2p-copy needs to run."""

    exit_code = 25

    def __init__(self, sentence: str | None = None, *, transient: bool = False) -> None:
        """`transient`: another program may free what is missing."""
        super().__init__(sentence)
        self.transient = transient


class TooMuch(LocalError):
    """The sender has more than `max_size` or `max_files` allows here. Raise it, or receive a part with `only`."""

    exit_code = 26

    def __init__(
        self, sentence: str | None = None, *, limit: int | None = None, files: int | None = None
    ) -> None:
        """Name the `limit`, in bytes, or the most `files`, if it is known."""
        if sentence is None and files is not None:
            what = f"{files} files, directories and links"
            sentence = f"The sender has more than the {what} that `max_files` allows here."
        elif sentence is None and limit is not None:
            sentence = f"The sender has more than the {limit} bytes that `max_size` allows here."
        super().__init__(sentence)
        self.limit = limit
        self.files = files


class ResultNotWritten(LocalError):
    """The output of this command could not be written. Check where it goes."""

    exit_code = 27


_NO_MEMORY: Final = "This machine has no more memory for p2p-copy."

_NO_THREADS: Final = (
    "This machine gives p2p-copy no more threads. Raise the limit (ulimit -u), or end other processes."
)

_EXHAUSTED: Final = {
    errno.EMFILE: "p2p-copy may not open as many files as it needs. Raise the limit (ulimit -n) and start it again.",
    errno.ENFILE: "All programs on this machine together have too many files open. Try again when there are fewer.",
    errno.ENOMEM: _NO_MEMORY,
    errno.ENOBUFS: _NO_MEMORY,
}


def exhausted(error: BaseException, *, transient: bool = False) -> SystemFailed | None:
    """Return the error for what the system has no more of; None if `error` is about something else.

    No file, path or connection is the cause of such an error, so none may be left out because of it.
    """
    sentence: str | None = None
    match error:
        case OSError():
            sentence = _EXHAUSTED.get(error.errno or 0)
        case MemoryError():
            sentence = _NO_MEMORY
        case RuntimeError() if "start new thread" in str(error):  # Python has no class of its own for that
            sentence = _NO_THREADS
    return SystemFailed(sentence, transient=transient) if sentence is not None else None


def leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group and in its inner groups, in order; an exception that is no group alone."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
