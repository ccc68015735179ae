"""Every object of `--json` has the form that the schema in docs/ has for it."""

from __future__ import annotations

import inspect
import io
import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from jsonschema import ValidationError

from p2p_copy import errors
from p2p_copy.api import events
from p2p_copy.cli.ui.errors import Interrupted, Mistyped
from p2p_copy.cli.ui.json_lines import OBJECTS, Error, as_line, event_name, write_error
from p2p_copy.cli.ui.terminal import Terminal
from p2p_copy.errors import P2PCopyError, PartialTransfer, VerificationFailed, WrongCode
from p2p_copy.protocol.code import Code, CodeTypo
from p2p_copy.value import FrozenValue
from tests.support.json_events import SCHEMA, checked

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, P2PCopyError)
    and "exit_code" in vars(kind)
    and kind is not P2PCopyError
]
"""All that have an exit code of their own; the families are never raised."""


PLAIN: dict[Any, list[Any]] = {
    str: ["\x1b[2J ü"],
    int: [0, 2**62],
    float: [0.0, 1.5],
    bool: [True, False],
    NoneType: [None],
}


def values(hint: Any) -> list[Any]:
    """Return values of a type: at least one of each of its alternatives."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return list(args)
    if origin in (Union, UnionType):
        return [value for one in args for value in values(one)]
    if origin is tuple and args[-1] is not ...:
        return [tuple(values(one)[0] for one in args)]
    if origin is tuple:
        return [(), tuple(values(args[0]))]
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return instances(hint)
    return PLAIN[hint]


def instances(kind: type[Any]) -> list[Any]:
    """Return objects of a class in which each field has each of its kinds of values."""
    hints = get_type_hints(kind)
    choices = {field.name: values(hints[field.name]) for field in fields(kind)}
    if kind is Error:
        choices["error"] = ["WrongCode", "Bug"]
    return [
        kind(**{name: given[turn % len(given)] for name, given in choices.items()})
        for turn in range(max((len(given) for given in choices.values()), default=1))
    ]


def written(error: BaseException) -> list[dict[str, Any]]:
    write_error(error, Terminal(out := io.StringIO(), io.StringIO()))
    return [checked(line) for line in out.getvalue().splitlines()]


def test_every_event_of_the_api_is_an_object() -> None:
    ours = {kind for _, kind in inspect.getmembers(events, is_dataclass)} - {FrozenValue}
    assert ours == set(get_args(events.Event))
    assert ours < set(OBJECTS)
    assert {event_name(kind) for kind in OBJECTS} == set(SCHEMA["$defs"])


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_has_the_form_of_the_schema(kind: type[Any]) -> None:
    for what in instances(kind):
        made = checked(line := as_line(what, 1.23456))
        assert (made["event"], made["time"]) == (event_name(kind), 1.235)
        assert "\x1b" not in line
        assert set(made) == {"event", "time", *(field.name for field in fields(kind))}


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_schema_takes_no_object_with_a_field_more_or_less(kind: type[Any]) -> None:
    made = json.loads(as_line(instances(kind)[0], 0))
    for name in made.keys() - {"event"}:
        with pytest.raises(ValidationError):
            checked(json.dumps({key: value for key, value in made.items() if key != name}))
    with pytest.raises(ValidationError):
        checked(json.dumps(made | {"more": 1}))


def test_sentences_name_options_as_the_command_line_does() -> None:
    line = as_line(events.Problem("`on_conflict`", "exists; see `on_conflict`"), 0)
    assert checked(line)["reason"] == "exists; see --on-conflict"
    assert checked(line)["path"] == "`on_conflict`", "a path is no sentence"


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_says_its_name_its_exit_code_and_whose_side_failed(kind: type[P2PCopyError]) -> None:
    if kind in (PartialTransfer, VerificationFailed):
        assert written(kind()) == [], "the report or the verdict has said so"
        return
    (made,) = written(kind("What `max_size` is."))
    assert (made["error"], made["exit_code"]) == (kind.__name__, kind.exit_code)
    assert made["sentence"] == "What --max-size is."
    sides = {errors.LocalError: "this", errors.PeerError: "other", errors.RelayError: "relay"}
    assert made["side"] == next((side for base, side in sides.items() if issubclass(kind, base)), None)


@pytest.mark.parametrize(
    ("error", "name", "exit_code", "side"),
    [
        (Mistyped("Unknown option.", "Try: p2p-copy --help"), "UsageError", 2, "this"),
        (errors.NotSaved(), "UsageError", 2, "this"),
        (CodeTypo("That is no code.", Code.generate()), "UsageError", 2, "this"),
        (Interrupted(15), "Interrupted", 143, "this"),
        (KeyboardInterrupt(), "Interrupted", 130, "this"),
        (ZeroDivisionError("secret"), "Bug", 1, None),
        (OSError(24, "Too many open files"), "SystemFailed", 25, "this"),
        (BaseExceptionGroup("", [ValueError(), WrongCode()]), "WrongCode", 11, "other"),
    ],
)
def test_what_is_no_error_of_ours_has_a_name_too(
    error: BaseException, name: str, exit_code: int, side: str | None
) -> None:
    (made,) = written(error)
    assert (made["error"], made["exit_code"], made["side"]) == (name, exit_code, side)
    assert "secret" not in made["sentence"]


def test_a_mistyped_code_is_not_corrected_in_an_object() -> None:
    """What a program writes may become a log, and must not have what may be the right code."""
    right = Code.generate()
    write_error(CodeTypo("That is no code.", right), Terminal(out := io.StringIO(), io.StringIO()))
    assert right.text not in out.getvalue()


def test_a_reader_that_has_gone_is_no_object() -> None:
    assert written(BrokenPipeError()) == []
