"""What the facts of a state must look like: they are checked here, when they are read, and nowhere else.

A file may have been edited, or written by another version. Facts that are not known here are passed on as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from p2p_copy.options import Conflict, Links, Names, Preserve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_TIME: Final = 2**36
"""Seconds since 1970: every system can say the date."""

_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")


def are_sound(facts: Mapping[str, Any]) -> bool:
    """Return whether each fact that we know is of the kind that it must be."""
    return _fit(facts, _KINDS)


def _fit(values: Mapping[str, Any], kinds: Mapping[str, Callable[[Any], bool]]) -> bool:
    return all(kinds[name](value) for name, value in values.items() if name in kinds)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_TIME


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _is_one_of(kind: type[Links | Conflict | Names | Preserve]) -> Callable[[Any], bool]:
    values = {one.value for one in kind}
    return lambda value: isinstance(value, str) and value in values


_is_preserve = _is_one_of(Preserve)

_OPTIONS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "links": _is_one_of(Links),
    "name": _is_text,
    "preserve": lambda value: isinstance(value, list) and all(map(_is_preserve, value)),
    "conflict": _is_one_of(Conflict),
    "names": _is_one_of(Names),
    "max_size": _is_count,
    "only": _are_texts,
    "exclude": _are_texts,
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
    "streams": _is_count,
    "ticket": _is_hex,
    "earlier": _is_hex,
    "claim": _is_hex,
    "sure": lambda value: isinstance(value, bool),
    "spent": lambda value: isinstance(value, bool),
    "over": lambda value: isinstance(value, dict),
}
