"""Every p2p-copy command line in contrib/ is one that the program takes. tests/test_documents.py has those of docs/."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.app import app
from tests.contrib.programs import CONTRIB
from tests.contrib.test_container import instructions

if TYPE_CHECKING:
    from collections.abc import Iterator


def of_units() -> Iterator[str]:
    for unit in sorted((CONTRIB / "systemd").rglob("*.service")):
        for line in unit.read_text().splitlines():
            if line.startswith("ExecStart="):
                yield line.removeprefix("ExecStart=").replace("%i", "8765")


def of_container() -> Iterator[str]:
    given = dict(instructions())
    yield shlex.join(json.loads(given["ENTRYPOINT"]) + json.loads(given["CMD"]))


@pytest.mark.parametrize("line", dict.fromkeys([*of_units(), *of_container()]))
def test_the_program_takes(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2P_COPY_CONFIG", os.devnull)
    program, *words = shlex.split(line, comments=True)
    assert program.rpartition("/")[2] == "p2p-copy"
    app.parse_args(words, exit_on_error=False, print_error=False)
