"""Makes the page and the JSON Schema of what `--json` writes, from the classes of the objects and their docstrings.

`python -m tests.generate_reference` writes both.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from p2p_copy import errors
from p2p_copy.api.report import MOST_FAILURES
from p2p_copy.cli.ui.json_lines import BUG, INTERRUPTED, OBJECTS, Error, event_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], Iterator[str]]

PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

SNAKE: Final = {kind.__name__: event_name(kind) for kind in OBJECTS}

NAMED: Final = re.compile(r"`([A-Z]\w+)")

PAGE: Final = """\
# Events for programs

With `--json`, `send`, `receive`, `resume`, `verify`, `doctor` and `relay-load` write one JSON object a line to
standard output, and nothing else. The objects are the events of [the Python API](api.md) and a few more.
[A JSON Schema](events.schema.json) has their exact form; it and this page are made from the program by
`python -m tests.generate_reference`.
[From cron and in CI](automation.md#in-a-program) shows how to use them.

- The **first** object is `started`. It has the code, if `send` has generated one, and the words of the receiver's
  command. A command that fails before that writes `error` alone.
- The **last** object is the result (`report`, `verdict`, `would_send`, `diagnosis`, `load_report`, or
  `transfer_preview` for a dry run of `receive`), or `error`. With a result, exit code 3 means that `failed` or
  `problems` is not 0, and 21 that `differences` is not 0; `diagnosis` has the exit code. A process that was killed
  writes no last object.
- **Versions**: `started` and `error` have the `version` of this form. Within a version events and fields are added
  and never changed, so ignore those that you do not know. The schema has exactly what this release writes.
- **Nothing is asked**, as with `--no-input`. At a terminal `receive --json` needs `--yes`.
- **Standard error** is as with `--quiet`: empty, unless something fails; then a sentence for people is there as well.
- `progress` comes at most twice a second, and only if something has changed; with `--no-progress` it does not come.
- **Paths and names** are as the sender names them, and escaped: a control character, or a byte that is not UTF-8,
  stands there as in Python, such as `\\x1b`. That is for display, and cannot be turned back. The bytes of a name are
  those on the receiver's disk; [the receipt](receipts.md) (`--receipt`) has them with all digests.
- **A slow reader slows nothing down.** Events wait for it, up to a mebibyte of text and ten thousand events;
  what does not fit is counted in `missed`. The process ends when its reader has read all.
- **A closed pipe**: a sender ends with exit code 141 as long as no program can have read its new code. Any other
  transfer goes on to its end; then the exit code is 141, because the report was not read.
- `--json` and `receive --out -` exclude each other: standard output can hold only one of them.
"""


def parts(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """Return what the docstring of a class says of it, and of each field."""
    text = inspect.getdoc(kind) or ""
    what, _, attributes = text.partition("\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", attributes, re.MULTILINE)
    return in_json(what), {name: in_json(meaning) for name, meaning in found}


def in_json(text: str) -> str:
    """Return a sentence of a docstring with the names that its things have in JSON."""
    text = " ".join(text.split()).replace("None", "null").replace("`MOST_FAILURES`", str(MOST_FAILURES))
    return NAMED.sub(lambda found: f"`{SNAKE.get(found[1], found[1])}", text)


def type_schema(hint: Any) -> dict[str, Any]:
    """Return the schema of a field with this type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, UnionType):
        schemas = [type_schema(one) for one in args]
        if all(set(one) == {"type"} for one in schemas):
            return {"type": [one["type"] for one in schemas]}
        return {"anyOf": schemas}
    if origin is tuple:
        items = {"type": "array", "items": type_schema(args[0])}
        if args[1:] == (...,):
            return items
        assert len(set(args)) == 1, hint
        return items | {"minItems": len(args), "maxItems": len(args)}
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return object_schema(hint, {})
    return {"type": PLAIN[hint]}


def object_schema(kind: type[Any], first: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with the fields of a class after the `first` properties."""
    what, meanings = parts(kind)
    hints = get_type_hints(kind)
    properties = dict(first)
    for field in fields(kind):
        assert meanings.get(field.name), f"{kind.__name__}.{field.name} has no meaning in the docstring"
        properties[field.name] = type_schema(hints[field.name]) | {"description": meanings[field.name]}
    if kind is Error:
        properties["error"] |= {"enum": [*error_names(), INTERRUPTED, BUG]}
    return {
        "description": what,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def error_names() -> list[str]:
    """Return the names of all errors that have an exit code of their own."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted(
        kind.__name__
        for kind in kinds
        if issubclass(kind, errors.P2PCopyError) and "exit_code" in vars(kind) and kind.exit_code != 1
    )


def schema() -> str:
    """Return docs/events.schema.json: the form of one line."""
    time = {"type": "number", "description": "Seconds since 1970, UTC."}
    names = {event_name(kind): kind for kind in OBJECTS}
    assert len(names) == len(OBJECTS)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An object that p2p-copy writes with --json",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names],
        "$defs": {
            name: object_schema(kind, {"event": {"const": name}, "time": time})
            for name, kind in names.items()
        },
    }
    return json.dumps(document, indent=2) + "\n"


def page(table: Table) -> str:
    """Return docs/events.md."""
    lines = [
        PAGE,
        "Each object has `event`, its name, and `time`, seconds since 1970. The other fields are:",
        "",
    ]
    for kind in OBJECTS:
        what, meanings = parts(kind)
        lines += [f"## {event_name(kind)}", "", as_markdown(what), ""]
        hints = get_type_hints(kind)
        if rows := list(field_rows(hints, meanings)):
            lines += table(("field", "type", "meaning"), rows)
    return "\n".join(lines).rstrip() + "\n"


def field_rows(
    hints: dict[str, Any], meanings: dict[str, str], prefix: str = ""
) -> Iterator[tuple[str, ...]]:
    for name, hint in hints.items():
        yield f"`{prefix}{name}`", type_name(hint), as_markdown(meanings[name])
        inner = next(iter(get_args(hint)), None)
        if is_dataclass(inner):
            assert isinstance(inner, type)
            many = "[]" if get_origin(hint) is tuple else ""
            yield from field_rows(get_type_hints(inner), parts(inner)[1], f"{prefix}{name}{many}.")


def type_name(hint: Any) -> str:
    """Return the JSON type of a field for people."""
    given = type_schema(hint)
    if "anyOf" in given:
        return " or ".join(type_name(one) for one in get_args(hint))
    if "enum" in given:
        return ", ".join(f"`{value}`" for value in given["enum"])
    if given["type"] == "array":
        inner = given["items"]["type"]
        many = f"{given['minItems']} " if "minItems" in given else ""
        return f"array of {many}{'objects' if inner == 'object' else f'{inner}s'}"
    types = given["type"] if isinstance(given["type"], list) else [given["type"]]
    return " or ".join(types)


def as_markdown(text: str) -> str:
    """Return a sentence of a docstring as the page has it."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
