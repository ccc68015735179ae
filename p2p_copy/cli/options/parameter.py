"""How an option is declared: as for cyclopts, which is loaded when it looks at a declaration, and not before.

A plain `send` or `receive` is parsed by `plain` from the same declarations, without cyclopts: that saves a sixth of the
processor time of a small transfer.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import Group


class Parameter:
    """Settings of an option. To cyclopts it is one of its own parameters, made when it is first used.

    Attributes:
        settings: what was given, by name.

    """

    def __init__(
        self,
        *,
        heading: tuple[str, int] | None = None,
        parse: Callable[[str], object] | None = None,
        above: float | None = None,
        **settings: Any,
    ) -> None:
        """Declare an option, or a part of what many options have in common.

        Args:
            heading: under which help lists it, and the heading's place among all.
            parse: reads its value, and raises ValueError with a sentence.
            above: its value must be more than this.
            settings: what else cyclopts's own parameter takes.

        """
        given = {"heading": heading, "parse": parse, "above": above}
        self.settings = settings | {name: value for name, value in given.items() if value is not None}

    if TYPE_CHECKING:
        group: Any
    else:

        @property
        def __class__(self) -> type:
            """What `isinstance` looks at besides the type."""
            from cyclopts import Parameter as Real

            return Real

        def __getattr__(self, name: str) -> Any:
            return getattr(_real(self), name)


@cache
def _real(declared: Parameter) -> Any:
    """Return the parameter of cyclopts."""
    from cyclopts import Parameter as Real, validators

    settings = dict(declared.settings)
    if heading := settings.pop("heading", None):
        settings["group"] = _group(*heading)
    if parse := settings.pop("parse", None):
        settings |= {"converter": partial(_parsed, parse), "n_tokens": 1, "accepts_keys": False}
    if convert := settings.get("converter"):
        settings["converter"] = partial(_converted, convert)
    if (above := settings.pop("above", None)) is not None:
        settings["validator"] = validators.Number(gt=above)
    return Real(**settings)


@cache
def _group(heading: str, place: int) -> Group:
    from cyclopts import Group

    return Group(heading, sort_key=place)


def _parsed(parse: Callable[[str], object], _type: object, tokens: Sequence[Any]) -> object:
    (token,) = tokens
    try:
        return parse(token.value)
    except ValueError as error:
        raise WrongValue(token, str(error)) from None


def _converted(
    convert: Callable[[Any, Sequence[Any]], object], kind: object, tokens: Sequence[Any]
) -> object:
    """Call a converter, and say in the way of cyclopts what is wrong."""
    from cyclopts import CoercionError

    try:
        return convert(kind, tokens)
    except WrongValue as wrong:
        token = wrong.token
        place = "" if token.source in ("cli", "env") else f" in {token.source}"
        raise CoercionError(f'"{token.value}"{place}: {wrong.reason}.', token=token) from None


class WrongValue(ValueError):
    """A value has the wrong form.

    Attributes:
        token: the value, as cyclopts has it.
        reason: why, without a full stop.

    """

    def __init__(self, token: Any, reason: str) -> None:
        super().__init__(reason)
        self.token = token
        self.reason = reason
