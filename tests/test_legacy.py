"""Clients of p2p-copy 0.1.2, as released, through our relay: their rendezvous is part of our promise."""

from __future__ import annotations

import os
import signal
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Certificates
from tests.support.processes import PATIENCE, relay
from tests.support.trees import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.pypi, pytest.mark.once]

RELEASE = "p2p-copy[security]==0.1.2"

INSTALL_TIMEOUT = 300


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> str:
    """The released program in an environment of its own, kept between runs."""
    # Two at once would spoil each other's installation.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    home = Path(request.config.cache.mkdir(f"p2p-copy-0.1.2-{worker}"))
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    done = home / "installed"
    if not done.exists():
        venv.create(home, with_pip=True, clear=True)
        pip: list[str | Path] = [
            scripts / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            RELEASE,
        ]
        installed = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
        if installed.returncode:
            pytest.skip(f"{RELEASE} cannot be installed here: PyPI is out of reach")
        done.touch()
    return str(scripts / "p2p-copy")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files as 0.1.2 can send them: regular ones that are not empty."""
    top = tmp_path / "source"
    for number in range(12):
        folder = top / f"folder {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {number}.bin").write_bytes(os.urandom(50_000 * number + 1))
    (top / "words.txt").write_text("the same words again and again\n" * 100_000)
    return top


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


class Client:
    def __init__(self, program: str, *words: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **variables},
        )

    def wait(self) -> tuple[int, str]:
        try:
            said, _ = self.process.communicate(timeout=PATIENCE)
        finally:
            self.process.kill()
        return self.process.returncode, said


def contents(root: Path) -> dict[str, bytes | str]:
    return {path: seen[3] for path, seen in snapshot(root).items() if seen[0] == "file"}


@pytest.fixture(params=["ws", "wss"])
def address(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[str, dict[str, str]]]:
    secure = request.param == "wss"
    with relay(*(certificates.options if secure else ())) as (url, _):
        yield url, {"SSL_CERT_FILE": certificates.authority} if secure else {}


@pytest.mark.parametrize("options", [(), ("--encrypt",)], ids=["plain", "encrypted"])
@pytest.mark.parametrize("code", ["a-shared-code", "n=4=nsecret"], ids=["one", "four links"])
@pytest.mark.timeout(INSTALL_TIMEOUT + 2 * PATIENCE)
def test_a_released_sender_and_receiver_meet_at_our_relay(
    program: str,
    source: Path,
    tmp_path: Path,
    address: tuple[str, dict[str, str]],
    code: str,
    options: tuple[str, ...],
) -> None:
    url, variables = address
    out = tmp_path / "out"
    receiver = Client(program, "receive", url, code, "--out", str(out), *options, **variables)
    sender = Client(program, "send", url, code, str(source), *options, **variables)
    sent, said = sender.wait()
    received, heard = receiver.wait()
    assert (sent, received) == (0, 0), said + heard
    assert contents(out / "source") == contents(source)


@pytest.mark.timeout(INSTALL_TIMEOUT + 2 * PATIENCE)
def test_a_released_receiver_hears_of_a_lost_sender(program: str, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**33)
    with relay() as (url, _):
        receiver = Client(program, "receive", url, "a-code", "--out", str(tmp_path / "out"))
        sender = Client(program, "send", url, "a-code", str(large), "--compress", "off")
        arriving = tmp_path / "out" / "large"
        while not (arriving.exists() and arriving.stat().st_size):
            assert receiver.process.poll() is None
            assert sender.process.poll() is None
        sender.process.send_signal(signal.SIGKILL)
        sender.wait()
        assert receiver.wait()[0] != 0
