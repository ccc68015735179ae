"""What the API says to people, in errors and notices, names no option and no command: the command line adds those."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.test_layering import modules, outside

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once

OF_THE_OPERATOR = ("relay.log", "relay.admin.metrics")
"""What a relay's log and metrics mean is said with the options of `run-relay-server`: programs do not show it."""

ABOUT_THE_COMMAND_LINE = re.compile(
    r"(?<![\w-])--[a-z]"  # an option
    r"|p2p-copy (send|receive|resume|forget|verify|demo|run-relay-server|relay-admin|relay-token)\b"
    r"|\b(listed|named|see|shown) above\b"  # a screen
    r"|P2P_COPY_[A-Z]+ "
)


def sentences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield all texts that may be shown: constants, and the docstrings of errors, which are their messages."""
    described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and not _is_error(node)
    }
    below = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} - {
        id(node.body[0].value)  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if _is_error(node)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in described | below:
            yield node.lineno, node.value  # type: ignore[attr-defined]


def _is_error(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef) or not node.body or not isinstance(node.body[0], ast.Expr):
        return False
    return any(ast.unparse(base) in _ERRORS for base in node.bases)


_ERRORS = {
    node.name
    for node in ast.walk(modules()["errors"].tree)
    if isinstance(node, ast.ClassDef) and node.name != "Failure"
} | {"Exception"}


@pytest.mark.parametrize("name", outside("cli", "__main__", *OF_THE_OPERATOR))
def test_no_sentence_below_the_command_line_is_about_it(name: str) -> None:
    found = [
        (line, text) for line, text in sentences(modules()[name].tree) if ABOUT_THE_COMMAND_LINE.search(text)
    ]
    assert not found


def test_such_sentences_would_be_found() -> None:
    tree = ast.parse(
        '"""A module of p2p-copy send."""\n'
        "class Gone(PeerError):\n    '''It is gone, as listed above.'''\n"
        "def f():\n    '''Has --option.'''\n    raise UsageError(f'{1}: use --out DIR')\n"
    )
    assert [line for line, text in sentences(tree) if ABOUT_THE_COMMAND_LINE.search(text)] == [3, 6]
