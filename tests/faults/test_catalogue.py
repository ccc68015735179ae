"""Every fault of the catalogue has a test, and no test shows one that is not there."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.catalogue import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]


def marks(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbers and aspects of the faults with which the tests of a file are marked."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "mark.fault" in text else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault":
            number, *aspects = map(ast.literal_eval, node.args)
            assert aspects, f"{path.name}: line {node.lineno} does not say what of {number} it shows"
            yield from ((number, aspect) for aspect in aspects)


def test_every_fault_is_shown() -> None:
    collected = [*TESTS.rglob("test_*.py"), *TESTS.glob("faults/fault_*.py")]
    shown = {mark for path in collected for mark in marks(path)}
    assert shown == {(number, aspect) for number, aspects in FAULTS.items() for aspect in aspects}
    assert list(FAULTS) == sorted(FAULTS)
