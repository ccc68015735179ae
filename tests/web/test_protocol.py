"""What of the page needs no browser, in Node: its implementation of the protocol against vectors and reference."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web import cases

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "p2p_copy/web/node_modules"

pytestmark = pytest.mark.once


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


def node(test: str, **variables: str) -> None:
    """Run a file of tests in Node."""
    ran = subprocess.run(
        ["node", "--test", str(HERE / test)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert "# fail 0" in ran.stdout


@needs_node
def test_the_pages_protocol_is_that_of_the_reference(tmp_path: Path) -> None:
    written = tmp_path / "cases.json"
    written.write_text(cases.write(modules=MODULES.is_dir()))
    node("protocol.test.mjs", P2P_COPY_CASES=str(written))


@needs_node
def test_the_pages_parts_of_a_transfer() -> None:
    node("transfer.test.mjs")
