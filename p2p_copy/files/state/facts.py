"""What the facts of a state must look like: they are checked here, when they are read, and nowhere else.

A file may have been edited, or written by another version. Facts that are not known here are passed on as they are.
Whoever goes on with a transfer needs all facts that its command writes (`are_complete`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from p2p_copy.options import Conflict, Names, Preserve, Symlinks
from p2p_copy.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_TIME: Final = 2**36
"""Seconds since 1970: every system can say the date."""

_MOST_COUNT: Final = 2**63 - 1
"""Bytes, files and failures: as many as any transfer has."""

_TICKET: Final = re.compile(r"[0-9a-f]{64}")
_CLAIM: Final = re.compile("[0-9a-f]{{{},{}}}".format(*limits.CLAIM_DIGITS))
_ROOT: Final = re.compile(r"[0-9a-f]{64}")


def are_sound(facts: Mapping[str, Any]) -> bool:
    """Return whether each fact that we know is of the kind that it must be."""
    return _fit(facts, _KINDS)


def are_complete(facts: Mapping[str, Any]) -> bool:
    """Return whether sound facts say all that must be known to go on with their transfer."""
    role = facts.get("role")
    if role not in _OPTIONS_OF or not {"relay", "options", _PLACE[role]} <= facts.keys():
        return False
    return bool(_OPTIONS_OF[role] <= facts["options"].keys())


def _fit(values: Mapping[str, Any], kinds: Mapping[str, Callable[[Any], bool]]) -> bool:
    return all(kinds[name](value) for name, value in values.items() if name in kinds)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_like(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_TIME


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> TypeGuard[int]:
    return _is_whole(value) and 0 <= value <= _MOST_COUNT


def _is_limit(least: int) -> Callable[[Any], bool]:
    return lambda value: value is None or (_is_whole(value) and value >= least)


def _is_one_of(kind: type[Symlinks | Conflict | Names | Preserve]) -> Callable[[Any], bool]:
    values = {one.value for one in kind}
    return lambda value: isinstance(value, str) and value in values


_is_preserve = _is_one_of(Preserve)

_OPTIONS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "links": _is_one_of(Symlinks),
    "name": _is_text,
    "preserve": lambda value: isinstance(value, list) and all(map(_is_preserve, value)),
    "conflict": _is_one_of(Conflict),
    "names": _is_one_of(Names),
    "max_size": _is_limit(0),
    "max_files": _is_limit(1),
    "only": _are_texts,
    "exclude": _are_texts,
}

_REPORT: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("files", "size", "failures", "skipped", "excluded"), _is_count),
    "root": _is_like(_ROOT),
    "seconds": _is_number,
}

_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "role": lambda value: value in ("sender", "receiver"),
    "relay": _is_text,
    "paths": _are_texts,
    "out": _is_text,
    "code": _is_text,
    "began": _is_number,
    "options": lambda value: isinstance(value, dict) and _fit(value, _OPTIONS),
    "receipt": lambda value: value is None or _is_text(value),
    "streams": lambda value: value is None or (_is_count(value) and value <= limits.MAX_STREAMS),
    "ticket": _is_like(_TICKET),
    "earlier": _is_like(_TICKET),
    "claim": _is_like(_CLAIM),
    "sure": lambda value: isinstance(value, bool),
    "spent": lambda value: isinstance(value, bool),
    "over": lambda value: isinstance(value, dict) and _fit(value, _REPORT),
}

_BOTH: Final = frozenset({"preserve", "only", "exclude"})
_OPTIONS_OF: Final = {
    "sender": _BOTH | {"links", "name"},
    "receiver": _BOTH | {"conflict", "names", "max_size", "max_files"},
}
_PLACE: Final = {"sender": "paths", "receiver": "out"}
