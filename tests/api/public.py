"""Prints what is public: names, parameters, members. A change that is meant is accepted by

python -m tests.api.public > tests/api/public.txt
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

import p2p_copy
from p2p_copy import testing
from p2p_copy.api import base, keywords
from p2p_copy.value import FrozenValue

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 110
"""Columns up to which a signature is one line."""

NOT_MADE_BY_PROGRAMS = (p2p_copy.IncomingStream, p2p_copy.Transfer)
"""Their parameters are ours to change."""


def lines() -> Iterator[str]:
    for module in (p2p_copy, testing):
        for name in sorted(module.__all__):
            yield from _described(f"{module.__name__}.{name}", getattr(module, name))
    for name, options in sorted(vars(keywords).items()):
        if name.endswith("Keywords"):
            yield f"**options: {name}"
            yield from (f"    {key}: {kind.__forward_arg__}" for key, kind in options.__annotations__.items())


def _described(name: str, thing: Any) -> Iterator[str]:
    if inspect.isfunction(thing):
        yield from _signature(name, thing)
    elif isinstance(thing, int):
        yield f"{name} = {thing}"
    elif not inspect.isclass(thing):
        yield " | ".join((name, *(each.__name__ for each in get_args(thing))))
    elif issubclass(thing, Enum):
        yield f"{name}: {', '.join(f'{one.name}={one.value!r}' for one in thing)}"
    else:
        hidden = {base.BaseClient, FrozenValue, object}
        bases = ", ".join(each.__name__ for each in thing.__bases__ if each not in hidden)
        yield f"class {name}({bases})" if bases else f"class {name}"
        made = "__init__" in vars(thing) or base.BaseClient in thing.__bases__
        if made and thing not in NOT_MADE_BY_PROGRAMS:
            yield from _signature("    ", thing.__init__)
        own = {one.name for one in fields(thing)} if is_dataclass(thing) else set()
        for member, value in sorted(vars(thing).items()):
            if not member.startswith("_") and member not in own:
                yield from _member(f"    .{member}", value)


def _member(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property):
        yield f"{name}: {inspect.signature(member.fget).return_annotation}"  # type: ignore[arg-type]
    elif isinstance(member, classmethod | staticmethod) or inspect.isfunction(member):
        yield from _signature(name, getattr(member, "__func__", member))
    else:
        yield f"{name} = {member!r}"


def _signature(name: str, function: Any) -> Iterator[str]:
    signature = inspect.signature(function)
    given = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    words = [_parameter(each) for each in given]
    keyword = [number for number, each in enumerate(given) if each.kind is each.KEYWORD_ONLY]
    if keyword:
        words.insert(keyword[0], "*")
    is_async = inspect.iscoroutinefunction(function)
    start = name.replace(name.strip(), f"async {name.strip()}") if is_async else name
    line = f"{start}({', '.join(words)}) -> {signature.return_annotation}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{start}("
    yield from (f"        {word}," for word in words)
    yield f"    ) -> {signature.return_annotation}"


def _parameter(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else ""
    default = getattr(one.default, "__qualname__", repr(one.default))
    return f"{stars}{one.name}: {one.annotation}" + (f" = {default}" if one.default is not one.empty else "")


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in lines()))
