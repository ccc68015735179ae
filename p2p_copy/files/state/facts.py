"""The facts that are saved of one transfer: what its command asked for, and the secrets for meeting again.

Only this module knows how these facts are written (JSON) and what they must look like. A file may have been edited or
written by another version, so `decode` checks every value and refuses the document if one is wrong. It ignores names
that it does not know, and a value that is missing has its default, if there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, TypeVar

from p2p_copy.files import limits
from p2p_copy.observer import Report
from p2p_copy.options import MAX_RELAYS, Conflict, Names, Preserve, ReceiveOptions, SendOptions, Symlinks
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.value import FrozenValue

T = TypeVar("T")


class KnownRelay(FrozenValue):
    """A relay of a command, as it is recognised again.

    Attributes:
        url: its address.
        pin: SHA-256 of its public key, if that is how it is recognised. It has no default: a document that has lost it
            must not make a resumed transfer less careful.

    """

    url: str
    pin: str | None


class SendCommand(FrozenValue, kw_only=True):
    """What a `send` command asks for: relays, paths on this machine, and how to send.

    Of the options, `REMEMBERED` says which are kept: others are asked for anew by each run.

    Attributes:
        relays: the relays, in the order of the user; at least one.
        paths: what to send.
        options: how to send it.
        verify: the user wants to compare words with the other side's. It has no default, for the same reason as a pin.

    """

    role: Literal["sender"] = "sender"
    relays: tuple[KnownRelay, ...]
    paths: tuple[str, ...]
    options: SendOptions
    verify: bool

    @property
    def places(self) -> tuple[str, ...]:
        """The paths on this machine."""
        return self.paths


class ReceiveCommand(FrozenValue, kw_only=True):
    """What a `receive` command asks for: relays, the output directory, and how to receive; see `SendCommand`."""

    role: Literal["receiver"] = "receiver"
    relays: tuple[KnownRelay, ...]
    out: str
    options: ReceiveOptions
    verify: bool

    @property
    def places(self) -> tuple[str, ...]:
        """The paths on this machine."""
        return (self.out,)


Command: TypeAlias = SendCommand | ReceiveCommand


class Facts(FrozenValue, kw_only=True, hidden=("code", "tickets", "claim")):
    """What is remembered of one transfer.

    Attributes:
        command: the command that began it; None if a program began it.
        began: when it began, in seconds since 1970.
        code: the code if `send` generated it; a code that people chose is not kept.
        spent: the code was used in an exchange that failed, or whose end is not known.
        tickets: secrets with which both sides meet again without the code, the newest first; see `peer.retry`.
        sure: the other side is known to have the first ticket, too.
        claim: the token by which the relay recognises this client; empty until it is needed.
        size: bytes that the receiver had when this was last saved.
        total: bytes of the whole transfer; None until they are counted.
        over: the outcome, once this side has ended the transfer; the other side may not know yet that it has.

    """

    command: Command | None = None
    began: float = 0.0
    code: str | None = None
    spent: bool = False
    tickets: tuple[bytes, ...] = ()
    sure: bool = False
    claim: str = ""
    size: int = 0
    total: int | None = None
    over: Report | None = None


def encode(facts: Facts) -> bytes:
    """Return facts as a document.

    Raises:
        ValueError: they are too long.

    """
    document = json.dumps(_plain(facts)).encode()
    if len(document) > limits.STATE_FACTS:
        raise ValueError("The facts about a transfer are too long.")
    return document


def decode(document: bytes) -> Facts:
    """Return the facts in a document.

    Raises:
        ValueError: it is too long, is no JSON, or a fact is missing or not what it must be.

    """
    if len(document) > limits.STATE_FACTS:
        raise ValueError("The facts about a transfer are too long.")
    try:
        return _object(Facts)(json.loads(document))
    except (TypeError, RecursionError):
        raise ValueError("These are not the facts about a transfer.") from None


def _plain(value: object) -> object:
    """Return a value as JSON can express it."""
    match value:
        case Enum():
            return value.value
        case bytes():
            return value.hex()
        case tuple():
            return [_plain(one) for one in value]
    if names := REMEMBERED.get(type(value)):
        return {name: _plain(getattr(value, name)) for name in names}
    return value


# What follows reads. Each reader takes a value from a document and returns it as a field has it, or raises ValueError.
# No message quotes the value: it may be a secret.

Reader: TypeAlias = Callable[[object], T]

_MOST_TIME: Final = 2**36
"""Seconds since 1970: every system can convert it to a date."""

_MOST_COUNT: Final = 2**63 - 1
"""Bytes, files and failures: no transfer has more."""

_MOST_TICKETS: Final = 2


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("This must be text.")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("This must be true or false.")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MOST_TIME:
        raise ValueError("This must be seconds.")
    return value


def _number(least: int, most: int) -> Reader[int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"This must be a whole number from {least} to {most}.")
        return value

    return read


def _digits(least: int, most: int) -> Reader[str]:
    pattern = re.compile(f"[0-9a-f]{{{least},{most}}}")

    def read(value: object) -> str:
        if not pattern.fullmatch(text := _text(value)):
            raise ValueError(f"These must be {least} to {most} hexadecimal digits.")
        return text

    return read


def _ticket(value: object) -> bytes:
    return bytes.fromhex(_digits(64, 64)(value))


def _claim(value: object) -> str:
    return "" if value == "" else _digits(*protocol_limits.CLAIM_DIGITS)(value)


def _optional(read: Reader[T]) -> Reader[T | None]:
    return lambda value: None if value is None else read(value)


def _several(read: Reader[T], most: int | None = None) -> Reader[tuple[T, ...]]:
    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list) or (most is not None and len(value) > most):
            raise ValueError("This must be a list.")
        return tuple(map(read, value))

    return read_all


def _object(kind: Callable[..., T]) -> Reader[T]:
    def read(value: object) -> T:
        if not isinstance(value, dict):
            raise ValueError("This must be an object.")
        readers = REMEMBERED[kind].items()
        return kind(**{name: read_one(value[name]) for name, read_one in readers if name in value})

    return read


def _command(value: object) -> Command:
    role = value.get("role") if isinstance(value, dict) else None
    if role == "sender":
        return _object(SendCommand)(value)
    if role == "receiver":
        return _object(ReceiveCommand)(value)
    raise ValueError("This must be a command of a sender or a receiver.")


_count: Final = _number(0, _MOST_COUNT)

_OPTIONS: Final[Mapping[str, Reader[Any]]] = {
    "preserve": _several(Preserve),
    "only": _several(_text),
    "exclude": _several(_text),
    "receipt": _optional(_text),
    "links": _optional(_number(1, protocol_limits.MAX_LINKS)),
}


def _relays(value: object) -> tuple[KnownRelay, ...]:
    relays = _several(_object(KnownRelay), MAX_RELAYS)(value)
    if not relays:
        raise ValueError("This must not be empty.")
    return relays


_COMMAND: Final[Mapping[str, Reader[Any]]] = {
    "role": _text,
    "relays": _relays,
    "verify": _flag,
}

REMEMBERED: Final[Mapping[Callable[..., Any], Mapping[str, Reader[Any]]]] = {
    Facts: {
        "command": _optional(_command),
        "began": _seconds,
        "code": _optional(_text),
        "spent": _flag,
        "tickets": _several(_ticket, _MOST_TICKETS),
        "sure": _flag,
        "claim": _claim,
        "size": _count,
        "total": _optional(_count),
        "over": _optional(_object(Report)),
    },
    KnownRelay: {"url": _text, "pin": _optional(_text)},
    SendCommand: {**_COMMAND, "paths": _several(_text), "options": _object(SendOptions)},
    ReceiveCommand: {**_COMMAND, "out": _text, "options": _object(ReceiveOptions)},
    SendOptions: {**_OPTIONS, "symlinks": Symlinks, "name": _text},
    ReceiveOptions: {
        **_OPTIONS,
        "conflict": Conflict,
        "names": Names,
        "max_size": _optional(_count),
        "max_files": _optional(_number(1, _MOST_COUNT)),
        "checksum": _flag,
        "delete": _flag,
    },
    Report: {
        **dict.fromkeys(
            ("files", "size", "failures", "skipped", "excluded", "up_to_date", "deleted"), _count
        ),
        "root": _digits(64, 64),
        "seconds": _seconds,
    },
}
"""The fields of each class that a document has, and what reads them. Of the options, `wait`, `patience`,
`limit_rate` and `reverify` are missing: each run asks for them anew."""
