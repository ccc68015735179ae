"""Parses the words after a command: two spellings, and one option whose value may be left out.

    p2p-copy send PATH...                                p2p-copy receive [CODE]
    p2p-copy send wss://relay:443 CODE PATH...           p2p-copy receive wss://relay:443 [CODE]

The second spelling is that of p2p-copy 0.1.x: if the first word is a ws:// or wss:// URL, it is the relay, and the next
word is the code. A generated code may be several words, as people say it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from p2p_copy import pasted
from p2p_copy.cli import limits
from p2p_copy.errors import UsageError
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

STANDARD: Final = "-"
"""Standard input or standard output in place of a path."""

_MAY_BE_STANDARD: Final = frozenset(("--code-file", "--token-file"))
"""Options of `send` that may have `-` as their value."""

SERVE_AUTO: Final = "auto"
"""Value of `--serve` if no HOST:PORT follows: all IPv4 addresses, and a free port."""

_URL: Final = re.compile(r"\s*wss?://", re.IGNORECASE)
_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Za-z:.%]+)\]|(?P<four>[^\s/\\:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII
)


class SendWords(NamedTuple):
    """The words after `send`."""

    relay: str | None
    code: str | None
    paths: tuple[str, ...]


class ReceiveWords(NamedTuple):
    """The words after `receive`."""

    relay: str | None
    code: str | None


def is_url(word: str) -> bool:
    """Return whether a word is a relay's URL."""
    return _URL.match(word) is not None


def relay_words(text: str) -> list[str]:
    """Return the relays that a text names, with commas or blanks between them."""
    return pasted.value(text).replace(",", " ").split()


def send_words(words: Sequence[str]) -> SendWords:
    """Split the words after `send`.

    Raises:
        UsageError: there is no path.

    """
    if words and is_url(words[0]):
        if len(words) < 3:
            raise UsageError(
                "After the relay's URL come the code and what to send: p2p-copy send URL CODE PATH... "
                "To get a new code: p2p-copy send PATH... --server URL"
            )
        return SendWords(words[0], words[1], tuple(words[2:]))
    if not words:
        raise UsageError("Name at least one file or directory: p2p-copy send PATH...")
    return SendWords(None, None, tuple(words))


def receive_words(words: Sequence[str]) -> ReceiveWords:
    """Split the words after `receive`.

    Raises:
        CodeTypo: several words are a generated code with a typo.
        UsageError: there are more words than a relay and a code.

    """
    relay, rest = (words[0], words[1:]) if words and is_url(words[0]) else (None, words)
    code = " ".join(rest)
    if len(rest) > 1 and not _is_generated(code):
        raise UsageError(
            "There are too many words: p2p-copy receive [CODE]. A code of your own with spaces needs quotes; "
            "use --out for the directory to write into."
        )
    return ReceiveWords(relay, code or None)


def _is_generated(text: str) -> bool:
    """Return whether a text is a generated code. Raises CodeTypo if it is one with a typo."""
    from p2p_copy import Code, CodeTypo  # here, because `p2p-copy --help` needs no word list

    try:
        return Code.parse(text).is_generated
    except CodeTypo:
        raise
    except UsageError:
        return False


def host_port(text: str) -> tuple[str, int] | None:
    """Return host and port of `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (host empty), None for others."""
    match = _HOST_PORT.fullmatch(text.strip())
    if match is None or int(match["port"]) > limits.MAX_PORT:
        return None
    return match["six"] or match["four"] or "", int(match["port"])


def wants_json(argv: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, whatever else is wrong with it."""
    end = argv.index("--") if "--" in argv else len(argv)
    return any(word.split("=")[0] == "--json" for word in argv[:end])


def wants_details(argv: Sequence[str]) -> bool:
    """Return whether a command line asks for details (`--verbose`), whatever else is wrong with it."""
    end = argv.index("--") if "--" in argv else len(argv)
    return any(word in ("-v", "--verbose") for word in argv[:end])


def with_standard_input(argv: Sequence[str]) -> list[str]:
    """Return the arguments with each `-` of `send` that is no option's value moved to the end, after `--`.

    Elsewhere the parser would take it for an option without a name.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    if not argv or argv[0] != "send":
        return list(argv)
    pairs = zip(("", *argv), argv[:end], strict=False)
    is_word = [word == STANDARD and before not in _MAY_BE_STANDARD for before, word in pairs]
    moved = [word for word, moves in zip(argv, is_word, strict=False) if moves]
    if not moved:
        return list(argv)
    kept = [word for word, moves in zip(argv, is_word, strict=False) if not moves]
    return [*kept, "--", *moved, *argv[end + 1 :]]


def with_serve_value(argv: Sequence[str]) -> list[str]:
    """Return the arguments with a value for every `--serve` of `send`.

    The word after a bare `--serve` is its value only if it looks like HOST:PORT; otherwise it is a path.
    """
    if not argv or argv[0] != "send":
        return list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    result: list[str] = []
    words = iter(argv[:end])
    for word in words:
        if word != "--serve":
            result.append(word)
            continue
        following = next(words, None)
        # Too high a port is an error later.
        if following is not None and _HOST_PORT.fullmatch(following.strip()):
            result.append(f"--serve={following}")
        else:
            result.append(f"--serve={SERVE_AUTO}")
            if following is not None:
                result.append(following)
    return [*result, *argv[end:]]
