"""Keeps the configuration and environment of the user who runs the tests out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLES = ("P2P_COPY_SERVER", "P2P_COPY_CODE", "P2P_COPY_CONFIG", "P2P_COPY_DEBUG", "P2P_COPY_TOKEN")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "config"))


@pytest.fixture
def relay() -> Iterator[str]:
    with processes.relay() as url:
        yield url


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small directory with an empty file, an empty directory and names that are not ASCII."""
    top = tmp_path / "source" / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty directory").mkdir()
    (top / "empty file").touch()
    (top / "größe").write_bytes(b"\0\xff" * 1000)
    (top / "deep" / "er" / "file").write_text("some text\n", encoding="utf-8")
    return top
