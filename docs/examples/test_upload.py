"""Tests a program that uses p2p-copy, with a relay that runs for one test: pytest test_upload.py."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import p2p_copy as p2p
from p2p_copy.testing import relay


def upload(path: Path, code: p2p.Code, relay: str) -> int:
    """Send a file and return how many arrived: the function of your program that is tested here."""
    return p2p.Client(relay).send(path, code=code).files


def test_upload(relay: str, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("1,2,3")
    code = p2p.Code.generate()
    with ThreadPoolExecutor() as threads:
        files = threads.submit(upload, tmp_path / "results.csv", code, relay)
        p2p.Client(relay).receive(tmp_path / "out", code=code)
    assert files.result() == 1
    assert (tmp_path / "out" / "results.csv").read_text() == "1,2,3"


def test_an_upload_when_the_relay_is_gone(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("1,2,3")
    with relay() as address:
        pass
    with pytest.raises(p2p.RelayUnreachable):
        upload(tmp_path / "results.csv", p2p.Code.generate(), address)
