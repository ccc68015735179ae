"""What is public is listed in public.txt, so that a change is seen; it is described and typed, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import p2p_copy
from p2p_copy import api, testing
from tests.api import public


def test_what_is_public_is_listed() -> None:
    """If the change is meant, `python -m tests.api.public > tests/api/public.txt`, and tell it in CHANGELOG.md."""
    listed = Path(__file__).with_name("public.txt").read_text(encoding="utf-8")
    assert list(public.lines()) == listed.splitlines()


def test_dir_shows_what_is_public() -> None:
    assert sorted(dir(p2p_copy)) == sorted(p2p_copy.__all__)
    for name in p2p_copy.__all__:
        assert getattr(p2p_copy, name) is not None
    with pytest.raises(AttributeError, match="gaga"):
        _ = p2p_copy.gaga


@pytest.mark.parametrize(
    "name", [name for name in p2p_copy.__all__ if inspect.isclass(getattr(p2p_copy, name))]
)
def test_what_is_public_is_described_and_typed(name: str) -> None:
    kind = getattr(p2p_copy, name)
    assert kind.__doc__
    for member, value in vars(kind).items():
        if member.startswith("_") or not inspect.isfunction(value):
            continue
        assert value.__doc__, member
        signature = inspect.signature(value)
        assert signature.return_annotation is not inspect.Signature.empty, member
        untyped = [each for each in list(signature.parameters.values())[1:] if each.annotation is each.empty]
        assert not untyped, member


MODULES = [
    "p2p_copy",
    "p2p_copy.testing",
    *(f"p2p_copy.api.{one.name}" for one in pkgutil.iter_modules(api.__path__)),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import p2p_copy; p2p_copy.__all__; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"{'p2p_copy'}", "{'__future__', 'p2p_copy'}", "{'p2p_copy', '__future__'}"}


def test_the_module_for_tests_has_one_name() -> None:
    assert testing.__all__ == ["relay"]
