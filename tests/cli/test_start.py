"""A small transfer starts fast: neither side loads what it does not need."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import ENOUGH

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from p2p_copy.cli.main import main
code = main(sys.argv[1:])
print(*sys.modules, file=sys.__stdout__)
sys.exit(code)
"""
NEITHER = {
    "anyio.abc",
    "backports.zstd",
    "compression.zstd",
    "cryptography.x509",
    "cyclopts",
    "email",
    "importlib.metadata",
    "p2p_copy.cli.about_commands",
    "p2p_copy.cli.app",
    "p2p_copy.cli.options.config_defaults",
    "p2p_copy.cli.relay_commands",
    "p2p_copy.cli.saved_commands",
    "p2p_copy.cli.ui.examples",
    "p2p_copy.cli.ui.help",
    "p2p_copy.cli.ui.mistakes",
    "p2p_copy.cli.ui.suggestions",
    "p2p_copy.doctor",
    "p2p_copy.files.receipts.writer",
    "p2p_copy.load",
    "p2p_copy.relay",
    "pathspec",
    "rich",
    "tomllib",
}
NOT = {
    "send": {
        "p2p_copy.cli.ui.prompt",
        "p2p_copy.cli.ui.sharing",
        "p2p_copy.transfer.receive",
        "p2p_copy.transfer.tree.consumer",
    },
    "receive": {"p2p_copy.transfer.send", "p2p_copy.transfer.tree.producer"},
}


@pytest.mark.once
@pytest.mark.slow  # three processes
def test_a_small_transfer_loads_nothing_that_it_does_not_need(relay: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    code = ("--code", "lab7-a long passphrase")
    words = {
        "receive": ("receive", *code, "--server", relay, "--out", tmp_path / "out", "--yes", "--quiet"),
        "send": ("send", tmp_path / "one", *code, "--server", relay, "--quiet"),
    }
    sides = {
        side: subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side, arguments in words.items()
    }
    loaded = {side: process.communicate(timeout=ENOUGH)[0].split() for side, process in sides.items()}
    assert [process.returncode for process in sides.values()] == [0, 0]
    assert {side: set(modules) & (NEITHER | NOT[side]) for side, modules in loaded.items()} == {
        "receive": set(),
        "send": set(),
    }
