"""Transfers through tinyproxy, squid and microsocks, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.contrib.programs import free_port, need, serving
from tests.support.processes import QUICK, receiver, relay, sender
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.once

USER, PASSWORD = "somebody", "a%2Db.c"
"""Written as a-b.c in the files of the proxies. Tinyproxy takes letters, digits, dots and dashes only."""


class Started(NamedTuple):
    """A proxy: what to write before `://`, and host and port."""

    scheme: str
    place: str

    def address(self, password: str = PASSWORD) -> str:
        return f"{self.scheme}://{USER}:{password}@{self.place}"


@contextmanager
def tinyproxy(folder: Path, port: int) -> Iterator[Started]:
    program = need("tinyproxy")
    file = folder / "tinyproxy.conf"
    file.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 600\nAllow 127.0.0.1\nBasicAuth {USER} a-b.c\n")
    with serving([program, "-d", "-c", str(file)], port, folder / "log"):
        yield Started("http", f"127.0.0.1:{port}")


CHECKER = """import sys
for line in sys.stdin:
    print("OK" if line == "somebody a-b.c\\n" else "ERR", flush=True)
"""
"""What tells squid whether a login is good."""


@contextmanager
def squid(folder: Path, port: int) -> Iterator[Started]:
    program = need("squid")
    # It starts as root and becomes the user `proxy`, who may not enter pytest's directories.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        checker, file = Path(place, "checker.py"), Path(place, "squid.conf")
        checker.write_text(CHECKER)
        python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
        file.write_text(
            f"http_port 127.0.0.1:{port}\npid_filename none\naccess_log none\ncache_log /dev/null\n"
            f"cache deny all\ncoredump_dir {place}\nshutdown_lifetime 0 seconds\npinger_enable off\n"
            "netdb_filename none\n"
            f"auth_param basic program {python} {checker}\nauth_param basic children 1 startup=1 idle=1\n"
            "acl login proxy_auth REQUIRED\nacl forbidden port 1\n"
            "http_access deny forbidden\nhttp_access allow login\nhttp_access deny all\n"
        )
        with serving([program, "-N", "-n", f"squid{port}", "-f", str(file)], port, folder / "log"):
            yield Started("http", f"127.0.0.1:{port}")


@contextmanager
def microsocks(folder: Path, port: int) -> Iterator[Started]:
    program = need("microsocks")
    words = [program, "-i", "127.0.0.1", "-p", str(port), "-u", USER, "-P", "a-b.c"]
    with serving(words, port, folder / "log"):
        yield Started("socks5h", f"127.0.0.1:{port}")


PROXIES: dict[str, Callable[[Path, int], AbstractContextManager[Started]]] = {
    "tinyproxy": tinyproxy,
    "squid": squid,
    "microsocks": microsocks,
}


@pytest.mark.slow  # six whole commands
@pytest.mark.parametrize("name", PROXIES)
def test_a_transfer_and_what_goes_wrong(name: str, tmp_path: Path) -> None:
    tree, out = make_tree(tmp_path), tmp_path / "out"
    with relay() as (url, _), PROXIES[name](tmp_path, free_port()) as proxy:

        def failing(address: str, relay_url: str = url) -> tuple[int, str]:
            code, _, errors = sender(relay_url, tree, options=("--proxy", address)).wait(QUICK)
            return code, errors.splitlines()[-1]

        options = ("--proxy", proxy.address())
        ends = [
            running.wait()
            for running in (sender(url, tree, options=options), receiver(url, out, options=options))
        ]
        assert [code for code, _, _ in ends] == [0, 0], ends
        assert snapshot(out / tree.name) == snapshot(tree)

        code, said = failing(proxy.address("wrong"))
        assert code == 29, said
        assert "refuses the user or the password in --proxy" in said
        code, said = failing(f"{proxy.scheme}://{proxy.place}")
        assert code == 29, said
        assert "wants a user and a password" in said
        code, said = failing(proxy.address(), f"ws://127.0.0.1:{free_port()}")
        assert code == 4, said
        assert f"The proxy {proxy.scheme.removesuffix('h')}://{proxy.place} cannot reach 127.0.0.1:" in said
        if name == "squid":
            code, said = failing(proxy.address(), "wss://127.0.0.1:1")
            assert code == 30, said
            assert "does not allow connections to 127.0.0.1:1" in said


@pytest.mark.slow  # the transfer must last longer than a proxy takes to end, which is found again after a pause
@pytest.mark.parametrize("name", ["tinyproxy", "squid"])  # microsocks does not get its port back at once
def test_a_transfer_outlives_a_restart(name: str, tmp_path: Path) -> None:
    source, out, port = tmp_path / "large", tmp_path / "out", free_port()
    source.write_bytes(os.urandom(1_000_000) * 24)
    with relay("--no-tls", "--rate", "4M") as (url, _):
        with PROXIES[name](tmp_path, port) as proxy:
            options = ("--proxy", proxy.address())
            one = sender(url, source, options=options)
            other = receiver(url, out, options=options)
            one.wait_for("Connected")
            other.wait_for("Connected")
        with PROXIES[name](tmp_path, port):
            ends = one.wait(), other.wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert subprocess.run(["cmp", str(source), str(out / "large")], check=False).returncode == 0
