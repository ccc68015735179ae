"""contrib/nginx, haproxy and caddy: accepted by the real program, and two relays behind it at work.

Only names, ports and paths of the files are replaced; each test says which.
"""

from __future__ import annotations

import resource
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.contrib.programs import CONTRIB, check, free_port, need, replaced, serving
from tests.support.processes import Running, receiver, relay, sender
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIVE = "/etc/letsencrypt/live/relay.example/"

CODES = [f"lab{number}-a long passphrase" for number in range(3)]
"""With two relays and no care for the path, all three would find each other in one of eight tries."""


@pytest.fixture
def relays() -> Iterator[tuple[str, str]]:
    """The ports of two relays, which must have ended well."""
    with ExitStack() as stack:
        urls = [
            stack.enter_context(relay("--no-tls", "--trusted-proxy", "127.0.0.1/32"))[0] for _ in range(2)
        ]
        yield urls[0].rpartition(":")[2], urls[1].rpartition(":")[2]


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A directory with a certificate for 127.0.0.1 under certbot's names, as one file, and its authority."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "fullchain.pem"))
    issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
    return folder


def transfers(url: str, root: Path, *options: str) -> None:
    """Send a tree with each code at once, by clients who know nothing of the proxy; compare what arrives."""
    tree = make_tree(root)
    running: list[tuple[Running, Running]] = []
    for number, code in enumerate(CODES):
        out = root / f"out{number}"
        running.append(
            (
                sender(url, tree, code=code, options=options),
                receiver(url, out, code=code, options=options),
            )
        )
    ends = [process.wait() for pair in running for process in pair]
    assert [code for code, _, _ in ends] == [0] * len(ends), ends
    for number in range(len(CODES)):
        assert snapshot(root / f"out{number}" / tree.name) == snapshot(tree)


def test_nginx(tmp_path: Path, relays: tuple[str, str], certificates: Path) -> None:
    nginx = need("nginx")
    port, other = free_port(), free_port()
    places = {
        "127.0.0.1:8765": f"127.0.0.1:{relays[0]}",
        "127.0.0.1:8766": f"127.0.0.1:{relays[1]}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen [::]:443": f"listen 127.0.0.1:{other}",
        LIVE: f"{certificates}/",
    }
    site, main = tmp_path / "p2p-copy.conf", tmp_path / "nginx.conf"
    site.write_text(replaced((CONTRIB / "nginx" / "p2p-copy.conf").read_text(), places))
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"daemon off; worker_processes 2; pid {tmp_path}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ {temporary} include {site}; }}\n"
    )
    words = [nginx, "-p", str(tmp_path), "-e", "stderr", "-c", str(main)]
    check(*words, "-t")
    with serving(words, port, tmp_path / "log"):
        transfers(f"wss://127.0.0.1:{port}", tmp_path, "--ca-file", str(certificates / "ca.pem"))


def test_haproxy(tmp_path: Path, relays: tuple[str, str], certificates: Path) -> None:
    haproxy = need("haproxy")
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8100:
        pytest.skip(
            "HAProxy's maxconn 4000 needs more than 8000 descriptors, and this user may not have them"
        )
    port = free_port()
    places = {
        "127.0.0.1:8765": f"127.0.0.1:{relays[0]}",
        "127.0.0.1:8766": f"127.0.0.1:{relays[1]}",
        ":::443 v4v6": f"127.0.0.1:{port}",
        "/etc/haproxy/relay.pem": str(certificates / "relay.pem"),
    }
    config = tmp_path / "haproxy.cfg"
    config.write_text(replaced((CONTRIB / "haproxy" / "haproxy.cfg").read_text(), places))
    said = check(haproxy, "-c", "-f", config)
    assert "WARNING" not in said
    with serving([haproxy, "-db", "-f", str(config)], port, tmp_path / "log"):
        transfers(f"wss://127.0.0.1:{port}", tmp_path, "--ca-file", str(certificates / "ca.pem"))


def test_caddy(tmp_path: Path, relays: tuple[str, str]) -> None:
    caddy = need("caddy")
    port = free_port()
    # Without a public name Caddy would want to put an authority of its own into the system, so: without TLS.
    places = {
        "127.0.0.1:8765": f"127.0.0.1:{relays[0]}",
        "127.0.0.1:8766": f"127.0.0.1:{relays[1]}",
        "relay.example {": f"http://127.0.0.1:{port} {{",
    }
    text = replaced((CONTRIB / "caddy" / "Caddyfile").read_text(), places)
    config = tmp_path / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n}}\n{text}")
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    check(caddy, "validate", "--config", config, "--adapter", "caddyfile", **home)
    with serving(
        [caddy, "run", "--config", str(config), "--adapter", "caddyfile"], port, tmp_path / "log", **home
    ):
        transfers(f"ws://127.0.0.1:{port}", tmp_path)
