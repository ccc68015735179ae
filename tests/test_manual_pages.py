"""Programs that format manual pages have nothing to say against ours; test_reference compares their text."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.generate_reference import DOCS
from tests.manual_pages import pages

PAGES = pages()


def test_there_is_a_page_for_the_program_and_for_each_command() -> None:
    assert {path.name for path in (DOCS / "man").iterdir()} == set(PAGES)
    assert {"p2p-copy.1", "p2p-copy-send.1", "p2p-copy-config-show.1"} <= set(PAGES)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_no_warning() -> None:
    files = [str(DOCS / "man" / name) for name in PAGES]
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-z", *files], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
def test_mandoc_has_no_complaint_but_the_missing_date() -> None:
    """A date would have to change with each build, and builds are reproducible."""
    files = [str(DOCS / "man" / name) for name in PAGES]
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *files], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("man"), reason="man is not installed")
def test_man_shows_options_as_they_are_typed() -> None:
    done = subprocess.run(
        ["man", "-l", str(DOCS / "man" / "p2p-copy-receive.1")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )
    assert "-o, --out DIR\n" in done.stdout
    assert "p2p-copy receive --code-file code.txt -y -o incoming\n" in done.stdout
