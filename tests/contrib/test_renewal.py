"""The clean way as a whole: the unit's own command line, a socket that is handed over, certbot's hook, a reload."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import ssl
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.contrib.programs import CONTRIB, PATIENCE, check, free_port, need, replaced, serving
from tests.support.processes import receiver, sender
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = CONTRIB / "systemd" / "run-relay-server.service"
HOOK = CONTRIB / "certbot" / "deploy-hook.sh"


class Authority:
    """What certbot and its authority do: a new pair for 127.0.0.1 in certbot's directory, and then the hook."""

    def __init__(self, root: Path) -> None:
        self._ca = trustme.CA()
        self._lineage = root / "live"
        self._lineage.mkdir()
        self._programs = root / "bin"
        self._programs.mkdir()
        self.trust = root / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.trust))
        self.tls = root / "etc" / "tls"
        self.relay = 0

    def renew(self) -> None:
        issued = self._ca.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(self._lineage / "fullchain.pem"))
        issued.private_key_pem.write_to_path(str(self._lineage / "privkey.pem"))
        systemctl = self._programs / "systemctl"
        systemctl.write_text(
            f'#!/bin/sh\n[ "$1" = is-active ] && exit {int(not self.relay)}\nkill -HUP {self.relay}\n'
        )
        systemctl.chmod(0o755)
        check(
            HOOK,
            RENEWED_LINEAGE=str(self._lineage),
            P2P_COPY_TLS=str(self.tls),
            P2P_COPY_GROUP=str(os.getgid()),
            PATH=f"{self._programs}:{os.environ['PATH']}",
        )

    def shown(self, port: int) -> object:
        """Return the serial number of the certificate that a client is shown, which it must be able to trust."""
        context = ssl.create_default_context(cafile=str(self.trust))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            certificate = secure.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_tree_and_a_renewal_through_the_service_as_it_is_installed(
    tmp_path: Path, authority: Authority
) -> None:
    activate = need("systemd-socket-activate")
    authority.renew()
    (start,) = [line for line in SERVICE.read_text().splitlines() if line.startswith("ExecStart=")]
    places = {
        "ExecStart=/opt/p2p-copy/bin/p2p-copy": f"{shlex.quote(sys.executable)} -m p2p_copy",
        "/etc/p2p-copy/tls": shlex.quote(str(authority.tls)),
    }
    port = free_port()
    passed_on = {"P2P_COPY_CONFIG": os.devnull, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    words = [activate, "-l", f"127.0.0.1:{port}", *(f"-E{name}={value}" for name, value in passed_on.items())]
    words += shlex.split(replaced(start, places))
    tree = make_tree(tmp_path)
    url, options = f"wss://127.0.0.1:{port}", ("--ca-file", str(authority.trust))
    with serving(words, port, tmp_path / "log") as relay:
        first = authority.shown(port)
        authority.relay = relay.pid
        one = sender(url, tree, options=options)
        one.wait_for("[Ww]aiting")
        authority.renew()
        deadline = time.monotonic() + PATIENCE
        while authority.shown(port) == first:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        other = receiver(url, tmp_path / "out", options=options)
        assert one.wait()[0] == other.wait()[0] == 0
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(PATIENCE) == 0
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)
