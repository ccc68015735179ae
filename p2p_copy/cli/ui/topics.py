"""What `p2p-copy help TOPIC` explains. `python -m tests.generate_reference` puts the same tables into docs/.

Code stands in backquotes, as in Markdown; a terminal shows it without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy import errors
from p2p_copy.cli.signals import STOP_TRANSFER
from p2p_copy.cli.ui.display import with_options
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Table = tuple[tuple[str, str], ...]
"""Rows of what is written, and what it means."""

_BUG: Final = 1
"""The exit code of `P2PCopyError` itself, which only a bug would raise."""


class Topic(NamedTuple):
    """Paragraphs and tables, in order, and a line that says what they are about."""

    about: str
    parts: tuple[str | Table, ...]


WAYS_TO_GIVE_A_CODE: Final[Table] = (
    ("a question", "`receive` asks at the terminal, and notices typos. No other user can see the answer."),
    (
        "`--code-file FILE`",
        "The first line of a file; `-` is standard input. Who may read the file can read the code.",
    ),
    ("`P2P_COPY_CODE`", "The environment. Only you and root can read it."),
    (
        "`CODE`, `--code CODE`",
        "Arguments. Every user of this machine can read them while the command runs (`ps`).",
    ),
)

VARIABLES: Final[Table] = (
    ("`P2P_COPY_SERVER`", "The relay."),
    ("`P2P_COPY_CODE`", "The code."),
    ("`P2P_COPY_TOKEN`", "The access token, for relays that want one."),
    ("`P2P_COPY_CONFIG`", "The configuration file."),
    ("`P2P_COPY_STATE_DIR`", "Where unfinished transfers are saved."),
    ("`P2P_COPY_DEBUG`", "`1` prints a traceback with every error, for bug reports."),
)

FORMS: Final[Table] = (
    (
        "a time",
        "Seconds, `90` or `1.5`; or numbers with `s`, `min` or `m`, `h` or `d`: `30s`, `10m`, `1h30m`, `2d`.",
    ),
    (
        "a size",
        (
            "Bytes; with `K`, `M`, `G`, `T`, `P` or `E`, alone or as in `KiB`, in units of 1024; as in `kB` and "
            "`MB`, in units of 1000: `64K`, `10 MiB`, `1.5G`, `20GB`. `B` is always bytes, never bits."
        ),
    ),
    ("a rate", "A size for each second, with or without `/s`: `10MB/s`, `64K`."),
    ("an address", "`HOST:PORT`, `[IPV6]:PORT`; where it can be meant, `unix:PATH`."),
)

PATTERNS: Final[Table] = (
    ("`*.log`", "entries with such a name, at any depth; a directory with all that is in it"),
    ("`build/`", "directories of this name, with all that is in them"),
    (
        "`tree/sub`, `/tree/*.c`",
        "with a `/` at the start or inside, the whole path from the top of the transfer",
    ),
    ("`**/sub/*.c`, `tree/**/c`", "`**` stands for any number of directories"),
    ("`!keep.log`", "cancels the match of an earlier pattern of the same option"),
)

_CODES: Final = Topic(
    "what a code is, and how to give it",
    (
        (
            "A code is for one transfer, and both sides need the same one. `send` makes a new one: five words, such as "
            "`flypaper.zodiac-confess.helpful.bullwhip`, the last of which guards against typos. The first client that "
            "connects with the code is the other side, so tell it only to that person, by telephone or chat."
        ),
        "Between the words of a generated code there may be blanks, dots, commas or dashes: it is the same code.",
        "One wrong guess uses a code up (exit code 11); then send again for a new one.",
        "Ways to give it:",
        WAYS_TO_GIVE_A_CODE,
        (
            "You may choose a code yourself: `send --code-file FILE`. The part before its first `-` is for the relay, "
            "which sees a hash of it; the rest is the secret, of 8 characters at least."
        ),
    ),
)

_CONFIG: Final = Topic(
    "the configuration file, variables, times and sizes",
    (
        (
            "`p2p-copy config show` prints which values are set and where, `p2p-copy config path` where the file is. "
            "It is TOML. A key is an option's name without the dashes, in the table of its command; `server`, "
            "`proxy`, `ca-file`, `pin` and `token-file` may stand at the top, for all:"
        ),
        (
            ('`server = "work"`', "for `--server work`, or a URL"),
            ("`[relay.work]`", "a relay, and what is for it alone"),
            ('`url = "wss://relay.example:443"`', ""),
            ('`token-file = "/home/me/work-token"`', ""),
            ("`[receive]`", ""),
            ('`out = "incoming"`', ""),
            ('`on-conflict = "rename"`', ""),
        ),
        (
            "The first of these that has a value counts: the command line, the environment, the table of the relay, "
            "the table of the command, the top of the file."
        ),
        "Environment variables:",
        VARIABLES,
        "Values, here and in every option:",
        FORMS,
    ),
)

_PATTERNS: Final = Topic(
    "the patterns of --only and --exclude",
    (
        (
            "Patterns are written as in a `.gitignore` file. They are compared with the path inside the transfer, "
            "`tree/sub/file` after `p2p-copy send /some/where/tree`, with `/` on every system:"
        ),
        PATTERNS,
        (
            "`--exclude` wins over `--only`. Of the patterns of one option, the last one that matches decides. An "
            "excluded directory is not read, so a `!` pattern cannot bring back anything in it."
        ),
        "`send --dry-run` shows what patterns select.",
    ),
)


def exit_codes() -> Iterator[tuple[str, str, str]]:
    """Yield each exit code, the name of its error, and what happened."""
    yield "0", "", "Everything was delivered, and verified at the receiver."
    yield str(_BUG), "", "A bug in p2p-copy, or a demo that failed."
    kinds = {
        kind.exit_code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.P2PCopyError)
        and "exit_code" in vars(kind)
        and kind.exit_code != _BUG
    }
    for code, kind in sorted(kinds.items()):
        yield str(code), kind.__name__, with_options(str(kind()))
    yield "141", "", "The reader of this command's result closed the pipe before its end."
    yield (
        ", ".join(str(128 + number) for number in sorted(STOP_TRANSFER)),
        "",
        (
            "Stopped by SIGHUP, SIGINT (Ctrl-C), SIGUSR1 or SIGTERM. No partial file has a final name, and the same "
            "command resumes."
        ),
    )


def topics() -> Mapping[str, Topic]:
    """Return all topics, by the word that names them."""
    codes = tuple((code, what) for code, _, what in exit_codes())
    return {
        "codes": _CODES,
        "config": _CONFIG,
        "exit-codes": Topic("what each exit code means", (codes,)),
        "patterns": _PATTERNS,
    }
