"""The options of `send`, `receive` and `resume`, in the order in which help shows them.

`commands.send` and `commands.receive` turn them into the options that `transfer.send` and `transfer.receive` take.
Annotations are evaluated here, once. As texts, cyclopts would compile each of them twice, which takes 5 ms.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from p2p_copy import CODE_WORDS, MAX_CODE_WORDS, MAX_ENTRIES, MAX_LINKS, MIN_CODE_WORDS
from p2p_copy.cli import limits
from p2p_copy.cli.options.config_file import CONFIG_VARIABLE, relay_names
from p2p_copy.cli.options.groups import CODE, CONTENT, FAILURES, OUTPUT, RELAY, SETUP, TARGET
from p2p_copy.cli.options.parameter import Parameter, WrongValue
from p2p_copy.cli.options.values import (
    DEADLINE,
    DURATION,
    FLAG,
    PATH,
    POSITIVE,
    PathText,
    parsed_by,
)
from p2p_copy.options import (
    LEAST_RATE,
    PATIENCE,
    PEER_WAIT,
    STATE_VARIABLE,
    STREAM_NAME,
    Conflict,
    Names,
    Preserve,
    Symlinks,
)
from p2p_copy.units import KIB, parse_rate, parse_size
from p2p_copy.value import FrozenValue, NamedTuple

SERVER_VARIABLE: Final = "P2P_COPY_SERVER"
CODE_VARIABLE: Final = "P2P_COPY_CODE"
TOKEN_VARIABLE: Final = "P2P_COPY_TOKEN"  # noqa: S105 - a name, not a token
"""Environment variables, each in place of an option: `--server`, `--code` and `--token-file` (the token, no path)."""


def _preserve_of(_type: object, tokens: Sequence[Any]) -> tuple[Preserve, ...]:
    """Return the members that an option's values name, each once; one value may name several, with commas."""
    chosen: dict[Preserve, None] = {}
    for token in tokens:
        for word in token.value.split(","):
            try:
                chosen[Preserve(word.strip())] = None
            except ValueError:
                known = ", ".join(one.value for one in Preserve)
                raise WrongValue(token, f"{word} is none of {known}") from None
    return tuple(chosen)


_PRESERVE: Final = Parameter(
    converter=_preserve_of,
    negative="",
    metavar="WHAT",
    show_default=False,
    show_choices=False,
    help="Keep, besides contents, permissions and times: hard-links (several names of one file), xattrs (extended "
    "attributes of users), owner (user, group and mode; the receiver must be root), mode (permissions of group and "
    "others, whatever the receiver's umask is). Both sides must name it, except mode; separate several with commas.",
)

_PATTERNS: Final = Parameter(metavar="PATTERN", negative="", allow_leading_hyphen=True, show_default=False)

JSON: Final = Parameter(
    help="Write events and result to standard output, as one JSON object a line. Nothing is asked."
)


class GivenProxy(NamedTuple):
    """The value of `--proxy`. `is_default`: it stands in the configuration file, so the environment comes before it."""

    text: str
    is_default: bool

    def __repr__(self) -> str:
        return "GivenProxy(...)"  # it may have a password


def _proxy_of(_type: object, tokens: Sequence[Any]) -> GivenProxy:
    (token,) = tokens
    return GivenProxy(token.value, is_default=token.source != "cli")


class OfRelays(NamedTuple):
    """What the configuration file has for each of several relays alone: by the relay's URL, values by their keys."""

    tables: Mapping[str, Mapping[str, str]]


NOTHING_OF_RELAYS: Final = OfRelays({})


def _no_option(_type: object, _tokens: object) -> OfRelays:
    raise ValueError("it is no option")


AUTO_LINKS: Final = 0
"""Means `auto` in place of a number of links."""


def _links_of(text: str) -> int:
    if text == "auto":
        return AUTO_LINKS
    if text.isdecimal() and 1 <= int(text) <= MAX_LINKS:
        return int(text)
    raise ValueError(f"it is auto, or a number from 1 to {MAX_LINKS}")


def _words_of(text: str) -> int:
    least, most = MIN_CODE_WORDS, MAX_CODE_WORDS
    if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"it is a number from {least} to {most}")


def _rate_of(text: str) -> int:
    if (rate := parse_rate(text)) < LEAST_RATE:
        raise ValueError(f"the least is {LEAST_RATE // KIB}K")
    return rate


def _files_of(text: str) -> int:
    few = len(text) <= len(str(MAX_ENTRIES))  # Python refuses to convert very many digits
    if few and text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_ENTRIES:
        return int(text)
    raise ValueError(f"it is a number from 1 to {MAX_ENTRIES}")


StateDir = Annotated[
    PathText | None,
    PATH,
    SETUP,
    Parameter(
        metavar="DIR",
        help=f"Where unfinished transfers are saved. {STATE_VARIABLE} is another way. Default: the usual "
        "place for a program's state in your home directory.",
    ),
]
"""The option that names the directory of unfinished transfers."""

ConfigPath = Annotated[
    PathText | None,
    PATH,
    SETUP,
    Parameter(metavar="FILE", help=f"Configuration file (TOML). {CONFIG_VARIABLE} is another way."),
]
"""The option that names the configuration file."""

ServerNames = Annotated[
    tuple[str, ...],
    RELAY,
    Parameter(
        completer=relay_names,
        env_var=SERVER_VARIABLE,
        metavar="URL|NAME",
        negative="",
        show_default=False,
        help="The relay: wss://HOST:PORT, ws:// for one without TLS, or its name in the configuration file. May be "
        "repeated: both sides use the same one of those that work.",
    ),
]
"""The option that names the relays."""


class TransferArguments(FrozenValue):
    """What to transfer. This is fixed when a transfer begins, so `resume` has none of these options."""

    server: ServerNames = ()
    code: Annotated[
        str | None,
        CODE,
        Parameter(
            alias="-c",
            metavar="CODE",
            help="The code. Other users of this machine can see it in the list of processes; --code-file hides it.",
        ),
    ] = None
    code_file: Annotated[
        PathText | None,
        PATH,
        CODE,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,  # a lone - is standard input
            help=f"File whose first line is the code; - for standard input. {CODE_VARIABLE} is another way.",
        ),
    ] = None
    verify: Annotated[
        bool,
        CODE,
        FLAG,
        Parameter(help="Ask, before anything is transferred, whether both sides show the same two words."),
    ] = False
    only: Annotated[
        tuple[str, ...],
        CONTENT,
        _PATTERNS,
        Parameter(help="Transfer only paths that match (gitignore syntax). May be repeated."),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        CONTENT,
        _PATTERNS,
        Parameter(help="Leave out paths that match, even if --only names them. May be repeated."),
    ] = ()
    dry_run: Annotated[
        bool,
        CONTENT,
        FLAG,
        Parameter(alias="-n", help="Show what would be transferred, then stop."),
    ] = False


class AccessArguments(FrozenValue):
    """How to reach a relay: the options of every client command."""

    ca_file: Annotated[
        PathText | None,
        PATH,
        RELAY,
        Parameter(
            metavar="FILE", help="PEM file with certificates to trust for the relay, besides the system's."
        ),
    ] = None
    pin: Annotated[
        str | None,
        RELAY,
        Parameter(
            metavar="SHA256",
            help="Trust the relay by its public key alone, not by who issued its certificate: sha256// and base64, "
            "or hexadecimal digits.",
        ),
    ] = None
    proxy: Annotated[
        GivenProxy | None,
        RELAY,
        Parameter(
            converter=_proxy_of,
            n_tokens=1,
            accepts_keys=False,
            metavar="URL|none",
            help="Reach the relay through this proxy: http://HOST:PORT, https:// or socks5://; or none. Without it the "
            "environment decides: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.",
        ),
    ] = None
    token_file: Annotated[
        PathText | None,
        PATH,
        RELAY,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="File whose first line is the access token, for relays that want one; - for standard input. "
            f"{TOKEN_VARIABLE} is another way.",
        ),
    ] = None
    of_relays: Annotated[
        OfRelays, RELAY, Parameter(converter=_no_option, n_tokens=1, accepts_keys=False, show=False)
    ] = NOTHING_OF_RELAYS  # the configuration file alone sets it


class ClientArguments(AccessArguments):
    """How a transfer is done: the options that `send`, `receive` and `resume` share."""

    wait: Annotated[
        float, FAILURES, DURATION, POSITIVE, Parameter(help="How long to wait for the other side.")
    ] = PEER_WAIT
    patience: Annotated[
        float,
        FAILURES,
        DURATION,
        Parameter(help="How long to keep reconnecting after a failure: 30s, 10m, 6h, 2d; 0 turns it off."),
    ] = PATIENCE
    deadline: Annotated[
        float | None,
        FAILURES,
        DEADLINE,
        Parameter(
            help="Stop cleanly at this time, so that the same command can resume later: 55m, 23:50, or a date and time."
        ),
    ] = None
    state_dir: StateDir = None
    links: Annotated[
        int | None,
        RELAY,
        parsed_by(_links_of, "auto|N"),
        Parameter(
            help=f"Connections to use for the transfer, 1 to {MAX_LINKS}. auto, the default, "
            "opens more than one only over long distances, and only if that is faster."
        ),
    ] = None
    limit_rate: Annotated[
        int | None,
        RELAY,
        parsed_by(_rate_of, "RATE"),
        Parameter(
            help="Most bytes per second to send or receive, over all connections together: 500K, 10M, 20MB/s."
        ),
    ] = None
    receipt: Annotated[
        PathText | None,
        PATH,
        OUTPUT,
        Parameter(metavar="FILE", help="Write a receipt of what was transferred, for p2p-copy verify."),
    ] = None
    quiet: Annotated[
        bool, OUTPUT, FLAG, Parameter(alias="-q", help="Print nothing but errors, and a new code.")
    ] = False
    verbose: Annotated[
        bool,
        OUTPUT,
        FLAG,
        Parameter(
            alias="-v",
            help="Print each step as a line with its time: every try to connect, connections, each path that is not "
            "delivered.",
        ),
    ] = False
    progress: Annotated[
        bool,
        OUTPUT,
        Parameter(help="Show progress; --no-progress prints a line for each phase and the end only."),
    ] = True
    no_input: Annotated[
        bool,
        OUTPUT,
        FLAG,
        Parameter(help="Never ask: what would be a question is an error that says what to pass."),
    ] = False
    json: Annotated[bool, OUTPUT, FLAG, JSON] = False
    config: ConfigPath = None


class SendArguments(FrozenValue):
    """The options of `send` alone."""

    serve: Annotated[
        str | None,
        RELAY,
        Parameter(
            metavar="[HOST:PORT]",
            help="Be the relay as well, for this transfer only. Without HOST:PORT: all addresses "
            f"of this machine, port {limits.SERVE_PORT} or any free one.",
        ),
    ] = None
    name: Annotated[
        str,
        CONTENT,
        Parameter(metavar="NAME", help="Name for standard input, for a receiver that writes it to a file."),
    ] = STREAM_NAME
    symlinks: Annotated[
        Symlinks,
        CONTENT,
        Parameter(
            help="Symbolic links inside a directory: keep them as symlinks if they stay inside, copy what they "
            "point to, or skip them."
        ),
    ] = Symlinks.KEEP
    preserve: Annotated[tuple[Preserve, ...], CONTENT, _PRESERVE] = ()
    code_words: Annotated[
        int | None,
        CODE,
        parsed_by(_words_of, "N"),
        Parameter(
            help=f"Words of a new code, {MIN_CODE_WORDS} to {MAX_CODE_WORDS}; {CODE_WORDS} if not given."
        ),
    ] = None
    link: Annotated[
        bool,
        CODE,
        FLAG,
        Parameter(
            help="Show a link as well, also as a QR code with p2p-copy[qr]: with it a browser receives, if the relay "
            "serves the page. It has the code in it."
        ),
    ] = False
    qr: Annotated[
        bool,
        CODE,
        FLAG,
        Parameter(help="Show the code, or the link, as a QR code as well. Needs p2p-copy[qr]."),
    ] = False
    copy: Annotated[
        bool,
        CODE,
        FLAG,
        Parameter(help="Put the code, or the link, into the clipboard. Needs p2p-copy[clipboard]."),
    ] = False


class ReceiveArguments(FrozenValue):
    """The options of `receive` alone."""

    out: Annotated[
        PathText,
        PATH,
        TARGET,
        Parameter(
            alias="-o",
            metavar="DIR",
            allow_leading_hyphen=True,  # a lone - is standard output
            help="Directory to write into, created if it does not exist; or - for standard output, if the sender has "
            "a pipe or a single file.",
        ),
    ] = "."
    on_conflict: Annotated[
        Conflict,
        TARGET,
        Parameter(
            help="If a name exists already: refuse the new file, overwrite the old one, rename the new one, skip "
            "it (which is no failure), or update: keep an old file with the same size and time, which counts as "
            "delivered, and overwrite any other; or ask for each file, at a terminal."
        ),
    ] = Conflict.REFUSE
    checksum: Annotated[
        bool,
        TARGET,
        FLAG,
        Parameter(
            help="With --on-conflict update: compare contents instead of sizes and times. Both sides then read all of "
            "a file that both have."
        ),
    ] = False
    delete: Annotated[
        bool,
        TARGET,
        FLAG,
        Parameter(
            help="Make the directories here the sender's: when everything has arrived, delete what the sender does not "
            "have in them, after a question. With --on-conflict update or overwrite."
        ),
    ] = False
    names: Annotated[
        Names,
        TARGET,
        Parameter(help="Accept only names that work on all systems, or all names that this system can hold."),
    ] = Names.PORTABLE
    preserve: Annotated[tuple[Preserve, ...], CONTENT, _PRESERVE] = ()
    max_size: Annotated[
        int | None,
        CONTENT,
        parsed_by(parse_size, "SIZE"),
        Parameter(help="Refuse transfers larger than this: 500M, 1.5G, 20GB."),
    ] = None
    max_files: Annotated[
        int | None,
        CONTENT,
        parsed_by(_files_of, "N"),
        Parameter(
            help="Refuse transfers of more files, directories and symlinks than this; those that the sender "
            "cannot send count too."
        ),
    ] = None
    yes: Annotated[
        bool, TARGET, FLAG, Parameter(alias="-y", help="Receive without asking. Scripts are never asked.")
    ] = False
    reverify: Annotated[
        bool,
        FAILURES,
        FLAG,
        Parameter(help="When resuming: read again what is here already, instead of trusting the journal."),
    ] = False


NO_ACCESS_ARGUMENTS: Final = AccessArguments()
NO_CLIENT_ARGUMENTS: Final = ClientArguments()
NO_TRANSFER_ARGUMENTS: Final = TransferArguments()
NO_SEND_ARGUMENTS: Final = SendArguments()
NO_RECEIVE_ARGUMENTS: Final = ReceiveArguments()
