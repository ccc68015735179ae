"""What the pages tell people to type works: every command is one that the program takes, every block runs.

A block runs by bash in a directory with the files that the pages speak of, with a relay on loopback in place of
relay.example. Where it is one side of a transfer, the other side runs beside it. `ELSEWHERE` says which blocks cannot
run here, and why.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from p2p_copy.cli.app import app
from p2p_copy.cli.options.arguments import with_serve_value, with_standard_input
from tests.contrib.programs import free_port
from tests.support.certificates import Certificates
from tests.support.processes import CODE, PATIENCE, Running, environment, receiver, relay, sender
from tests.support.proxies import Tunnel, proxy_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(__file__).parents[1]
README: Final = ROOT / "README.md"
DOCUMENTS: Final = (README, *sorted((ROOT / "docs").glob("*.md")))

SHELLS: Final = ("console", "bash")
"""Languages of blocks that a reader types."""

ELSEWHERE: Final = {
    r"\bsudo |\bsystemctl |\bjournalctl ": "needs root and systemd; tests/contrib tries the files",
    r"\bpipx? install |/pip install ": "installs from a package index; nox does that",
    r"\bdocker compose ": "needs containers; tests/contrib runs what is in them",
    r"-m pytest": "runs all tests",
    r"nox -s zipapp|p2p-copy\.pyz": "installs from a package index; nox makes that file, and runs it",
    r"\bnpm ": "needs npm and its registry; a build of the package runs the same",
    r"run-relay-server .*--web$": "needs the page, which a clone may not have; tests/relay has one of its own",
    r"\bssh -N": "needs an SSH server",
    r"curl .*--resolve": "needs a machine with that certificate",
    r"relay-admin \S+ end 7": "needs a transfer with that number",
    r"p2p-copy relay-load": "takes a minute, and a relay that allows it; test_relay_load runs it",
}
"""Blocks that do not run here, by what is in them, and why."""

TYPED: Final = re.compile(r"(?:^|[\s=/])p2p-copy ((?:[a-z]+-)*[a-z]+(?: .*)?)$")
"""A command of ours in a line: what follows the program's name."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def typed(self) -> str:
        """What a reader types: behind the prompts, if there are any, or everything, without remarks."""
        lines = self.text.replace("\\\n", " ").splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return "\n".join(re.sub(r"\s+# .*", "", line) for line in prompted or lines)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            indent, language, body = match.groups()
            inside = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
            yield Block(path.name, text.count("\n", 0, match.start()) + 1, language, inside)


def commands() -> Iterator[str]:
    for block in blocks():
        if block.page == "cli.md":  # usages, with dots and brackets
            continue
        for line in block.typed.splitlines():
            if block.language not in ("json", "toml") and (found := TYPED.search(line)):
                yield re.split(r" [|>&]| \d>", found[1])[0]


@pytest.mark.parametrize("command", dict.fromkeys(commands()))
def test_the_program_takes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2P_COPY_CONFIG", os.devnull)
    words = with_standard_input(with_serve_value(shlex.split(command, comments=True)))
    app.parse_args(words, exit_on_error=False, print_error=False)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site name them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """The site checks its own links; the README is no page of it."""
    for path, anchor in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", README.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
        assert not anchor or anchor in anchors(ROOT / path), f"{path}#{anchor}"


def test_every_page_that_a_file_names_exists() -> None:
    files = [path for folder in ("p2p_copy", "contrib", "tests") for path in (ROOT / folder).rglob("*")]
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            for name in re.findall(
                r"\bdocs/([a-z-]+\.md)\b", file.read_text(encoding="utf-8", errors="replace")
            ):
                assert (ROOT / "docs" / name).exists(), f"{file}: {name}"


def reason(block: Block) -> str | None:
    return next((why for what, why in ELSEWHERE.items() if re.search(what, block.typed)), None)


TO_RUN: Final = {
    block.typed: block for block in blocks() if block.language in SHELLS and not reason(block)
}.values()
"""What several pages have word by word runs once."""


def test_every_reason_is_needed() -> None:
    typed = [block.typed for block in blocks() if block.language in SHELLS]
    assert [what for what in ELSEWHERE if not any(re.search(what, text) for text in typed)] == []


class Desk:
    """The machine of a reader: a directory with the files of the examples, a home, and programs."""

    def __init__(self, root: Path, url: str, admin: int, proxy: str) -> None:
        self.root, self.url, self.proxy = root, url, proxy
        self.serving = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{admin}"
        for folder in ("bin", "home", "results/sub", "plots", "build", "docs"):
            (root / folder).mkdir(parents=True)
        for name in ("results/a.bin", "results/sub/b.txt", "build/c", "docs/d"):
            (root / name).write_bytes(os.urandom(5000))
        (root / "notes.txt").write_text("notes")
        settings = root / "home" / ".config" / "p2p-copy"
        settings.mkdir(parents=True)
        for code in (root / "code.txt", settings / "code"):
            code.write_text(f"{CODE}\n")
        certificates = Certificates(root)
        for name, source in (
            ("fullchain.pem", certificates.certificate),
            ("privkey.pem", certificates.key),
            ("authority.pem", certificates.authority),
        ):
            shutil.copy(source, root / name)
        self._program("p2p-copy", f'exec "{sys.executable}" -m p2p_copy "$@"')
        self._program("sbatch", 'case $1 in --*) shift;; esac; exec bash "$@"')
        self.variables = environment(
            HOME=str(root / "home"),
            SCRATCH=str(root),
            PATH=f"{root / 'bin'}:{os.environ['PATH']}",
            P2P_COPY_SERVER=url,
            P2P_COPY_CODE=CODE,
            P2P_COPY_STATE_DIR=str(root / "state"),
        )

    def _program(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def here(self, typed: str) -> str:
        """Return what is typed with the addresses and places of this machine."""
        for there, here in (
            ("wss://relay.example:443", self.url),
            ("wss://relay2.example:443", "ws://127.0.0.1:9"),
            ("ws://127.0.0.1:8765", self.url),
            ("https://relay.example/", f"{self.url.replace('ws:', 'http:')}/"),
            ("--proxy http://proxy.example:3128", f"--proxy {self.proxy}"),
            ("--proxy socks5://localhost:1080", f"--proxy {self.proxy}"),
            ("127.0.0.1:9765", self.admin),
            ("0.0.0.0:443", "127.0.0.1:0"),
            ("0.0.0.0:8765", "127.0.0.1:0"),
            ("localhost:8765", "127.0.0.1:0"),
            ("unix:/run/p2p-copy/relay.sock", f"unix:{self.root}/relay.sock"),
            ("--serve results", f"--serve {self.serving} results"),
            (" --ca-file authority.pem", "" if self.url.startswith("ws:") else " --ca-file authority.pem"),
            ("contrib/", f"{ROOT}/contrib/"),
        ):
            typed = typed.replace(there, here)
        return f"{typed}\nwait $!" if typed.endswith("&") else typed

    def start(self, typed: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", self.here(typed)],
            cwd=self.root,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@contextmanager
def other_side(typed: str, desk: Desk) -> Iterator[None]:
    """Run the other side of the transfer of a block, if the block is only one side of one."""
    sends, receives = (re.search(rf"(p2p-copy|\.sbatch) {what}\b", typed) for what in ("send", "receive"))
    state = str(desk.root / "other state")
    other: Running | None = None
    if sends and not receives and "--dry-run" not in typed:
        url = f"ws://{desk.serving}" if "--serve " in typed else desk.url
        if "--serve " in typed:
            wait_until_open(desk.serving)
        other = receiver(url, desk.root / "other", P2P_COPY_STATE_DIR=state)
    elif receives and not sends:
        other = sender(desk.url, desk.root / "results", desk.root / "notes.txt", P2P_COPY_STATE_DIR=state)
    try:
        yield
        if other and "--dry-run" not in typed:  # after which a sender would wait on
            code, _, errors = other.wait()
            assert code == 0, errors
    finally:
        if other:
            other.kill()


def iter_until(lines: Iterable[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line
        if last in line:
            return


def wait_until_open(address: str) -> None:
    host, _, port = address.rpartition(":")
    probe = f"until (: </dev/tcp/{host}/{port}) 2>/dev/null; do sleep 0.1; done"
    subprocess.run(["bash", "-c", probe], check=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def shared_relay() -> Iterator[str]:
    with relay() as (url, _):
        yield url


@pytest.fixture(scope="module")
def shared_proxy() -> Iterator[str]:
    with proxy_in_thread(Tunnel()) as proxy:
        yield str(proxy)


@pytest.mark.once
@pytest.mark.slow  # two whole programs a block
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed here")
@pytest.mark.parametrize("block", TO_RUN, ids=str)
def test_a_block_runs(block: Block, shared_relay: str, shared_proxy: str, tmp_path: Path) -> None:
    typed = block.typed
    if "curl" in typed and not shutil.which("curl"):
        pytest.skip("curl is not installed here")
    if "127.0.0.1:9765" in typed and "run-relay-server" not in typed:
        admin = free_port()
        with relay("--no-tls", "--admin", f"127.0.0.1:{admin}", "--log-level", "error") as (url, background):
            follow(typed, Desk(tmp_path, url, admin, shared_proxy))
            if "drain" in typed:  # so this relay ends
                background.wait()
    else:
        follow(typed, Desk(tmp_path, shared_relay, free_port(), shared_proxy))


def follow(typed: str, desk: Desk) -> None:
    """Type a block; fail if it does."""
    if "verify" in typed and "receive" not in typed:
        follow("p2p-copy receive --out incoming --receipt incoming.receipt", desk)
    process = desk.start(typed)
    try:
        if "run-relay-server" in typed:
            assert process.stdout is not None
            lines = list(iter_until(process.stdout, "Relay listening on"))
            os.killpg(process.pid, signal.SIGTERM)
            assert "Relay listening on" in lines[-1]
            process.communicate(timeout=PATIENCE)
            assert process.returncode in (0, -signal.SIGTERM)  # which of the two depends on the shell
        else:
            with other_side(typed, desk):
                output, _ = process.communicate(timeout=PATIENCE)
                assert process.returncode == 0, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
