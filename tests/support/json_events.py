"""Reads what `--json` writes, and holds every object against the schema in docs/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

SCHEMA: Final = json.loads(
    (Path(__file__).parents[2] / "docs" / "events.schema.json").read_text(encoding="utf-8")
)

Draft202012Validator.check_schema(SCHEMA)


def checked(line: str) -> dict[str, Any]:
    """Return the object in a line, if it has exactly the form that the schema has for its event."""
    made: dict[str, Any] = json.loads(line)
    assert line.isascii()
    assert made["event"] in SCHEMA["$defs"], line
    # Against the one definition, a mistake is told closer than against all of them; and then the whole schema.
    Draft202012Validator({"$ref": f"#/$defs/{made['event']}", "$defs": SCHEMA["$defs"]}).validate(made)
    Draft202012Validator(SCHEMA).validate(made)
    return made


def objects(out: str) -> list[dict[str, Any]]:
    """Return all objects of a command that has ended, after checks that hold for every command."""
    made = [checked(line) for line in out.splitlines()]
    assert made, "nothing was written"
    assert made[0]["event"] in ("started", "error")
    assert made[0]["version"] == 1
    times = [one["time"] for one in made]
    assert times == sorted(times)
    return made


def names(made: list[dict[str, Any]]) -> list[str]:
    """Return the events in order, without `progress`, which depends on how fast a machine is."""
    return [one["event"] for one in made if one["event"] != "progress"]
