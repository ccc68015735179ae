"""nginx and HAProxy with the files of contrib/, in front of relays of a test, on ports of this machine.

Only names, ports, paths and the list of relays are replaced; `_places` says which.
"""

from __future__ import annotations

import re
import resource
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trustme

from p2p_copy.protocol.code import Code
from tests.contrib.programs import CONTRIB, check, free_port, need, replaced, serving
from tests.support.transfers import receive, send
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

LIVE: Final = "/etc/letsencrypt/live/relay.example/"

HOSTS: Final = ("127.0.0.1", "localhost")
"""Two spellings of one host."""

STREAM_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Where Debian has what nginx needs for connections that are not HTTP."""

PAIRS: Final = 12
"""With two relays and no care for the path, all would find each other in one of 4096 tries."""

DESCRIPTORS: Final = 8100
"""What maxconn 4000 of the examples for HAProxy takes."""


@dataclass(frozen=True)
class Certificates:
    """A directory with a certificate for both `HOSTS`, under certbot's names and as HAProxy wants it."""

    folder: Path

    @classmethod
    def issued(cls, folder: Path) -> Certificates:
        folder.mkdir()
        authority = trustme.CA()
        issued = authority.issue_cert(*HOSTS)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "fullchain.pem"))
        issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        return cls(folder)

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.pem")


@dataclass(frozen=True)
class Kind:
    """One of the examples.

    Attributes:
        program: what it is for.
        file: its path below contrib/.
        passes_tls: relays end TLS themselves.

    """

    program: str
    file: str
    passes_tls: bool

    def __str__(self) -> str:
        return f"{self.program}, TLS {'passed through' if self.passes_tls else 'ended'}"

    def relay_options(self, certificates: Certificates) -> tuple[str, ...]:
        """Return what relays behind it are started with."""
        folder = certificates.folder
        pair = "--certfile", f"{folder}/fullchain.pem", "--keyfile", f"{folder}/privkey.pem"
        return (*(pair if self.passes_tls else ("--no-tls",)), "--trusted-proxy", "127.0.0.1")


KINDS: Final = (
    Kind("nginx", "nginx/p2p-copy.conf", passes_tls=False),
    Kind("nginx", "nginx/passthrough.conf", passes_tls=True),
    Kind("haproxy", "haproxy/haproxy.cfg", passes_tls=False),
    Kind("haproxy", "haproxy/passthrough.cfg", passes_tls=True),
)


class Balancer:
    """A balancer that runs.

    Attributes:
        port: where it listens.

    """

    def __init__(self, kind: Kind, certificates: Certificates, folder: Path) -> None:
        """Prepare it, or skip the test if the program is not here."""
        self.program = need(kind.program)
        if kind.program == "haproxy" and 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < DESCRIPTORS:
            pytest.skip(f"the example needs {DESCRIPTORS} descriptors, and this user may not have them")
        if kind.program == "nginx" and kind.passes_tls and not STREAM_MODULE.exists():
            pytest.skip("nginx's stream module is not installed here")
        self.port = free_port()
        self._kind = kind
        self._certificates = certificates
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self, relays: Sequence[int]) -> Iterator[None]:
        """Run it in front of relays at these ports."""
        words = self._prepared(relays)
        with serving(words, self.port, self._folder / "log") as self._process:
            yield

    def use(self, relays: Sequence[int]) -> None:
        """Have it use the relays at these ports from now on."""
        assert self._process is not None
        self._prepared(relays)
        self._process.send_signal(signal.SIGHUP if self._kind.program == "nginx" else signal.SIGUSR2)

    def _prepared(self, relays: Sequence[int]) -> list[str]:
        """Write and check the configuration; return the command that runs it."""
        text = replaced((CONTRIB / self._kind.file).read_text(), self._places())
        config = self._folder / Path(self._kind.file).name
        config.write_text(_with_relays(text, relays))
        if self._kind.program == "haproxy":
            said = check(self.program, "-c", "-f", config)
            assert "WARNING" not in said, said
            return [self.program, "-W", "-db", "-f", str(config)]
        words = [self.program, "-p", str(self._folder), "-e", "stderr", "-c", str(self._main(config))]
        check(*words, "-t")
        return words

    def _places(self) -> dict[str, str]:
        folder = self._certificates.folder
        if self._kind.program == "haproxy":
            places = {"bind :::443 v4v6": f"bind 127.0.0.1:{self.port}"}
            return (
                places
                if self._kind.passes_tls
                else {**places, "/etc/haproxy/relay.pem": f"{folder}/relay.pem"}
            )
        places = {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "listen [::]:443": f"listen unix:{self._folder}/other",  # IPv6 may be missing
        }
        return places if self._kind.passes_tls else {**places, LIVE: f"{folder}/"}

    def _main(self, config: Path) -> Path:
        """Write nginx's main configuration, which belongs to the system; return its path."""
        main, folder = self._folder / "nginx.conf", self._folder
        lines = ["daemon off; worker_processes 2; error_log stderr;", f"pid {folder}/pid;", "events {}"]
        if self._kind.passes_tls:
            lines = [f"load_module {STREAM_MODULE};", *lines, f"include {config};"]
        else:
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
            lines = [*lines, f"http {{ {temporary} include {config}; }}"]
        main.write_text("\n".join(lines))
        return main


def _with_relays(text: str, ports: Sequence[int]) -> str:
    """Return the text with a line for each relay in place of those for the relays of the example."""
    lines = re.findall(r".*\b127\.0\.0\.1:876[56]\b.*\n", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE))
    first, *others = lines
    made = "".join(
        first.replace("8765", str(port)).replace("id 1", f"id {number}")
        for number, port in enumerate(ports, start=1)
    )
    for line in others:
        text = text.replace(line, "")
    return text.replace(first, made)


async def transfers(urls: Sequence[str], root: Path, ca_file: str | None = None) -> None:
    """Send a tree with each code at once; senders use the first address, receivers the last. Compare what arrives."""
    tree = make_tree(root)
    outs = [root / f"out{number}" for number in range(PAIRS)]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number, out in enumerate(outs):
                code = Code(f"lab{number}", "a long passphrase")
                nursery.start_soon(sending, tree, urls[0], code, ca_file)
                nursery.start_soon(receiving, out, urls[-1], code, ca_file)
    for out in outs:
        assert snapshot(out / tree.name) == snapshot(tree)


async def sending(tree: Path, url: str, code: Code, ca_file: str | None) -> None:
    await send([tree], relay=url, code=code, ca_file=ca_file)


async def receiving(out: Path, url: str, code: Code, ca_file: str | None) -> None:
    await receive(out, relay=url, code=code, ca_file=ca_file)
