"""A relay process with workers, for tests: its log in a file, its admin address a unix socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_copy.protocol.rendezvous import Role, Welcome, room_hint, room_path
from p2p_copy.relay.limits import UPGRADE_TIMEOUT
from tests.relay.clients import Relay, answer, hello, room
from tests.support.links import connect
from tests.support.processes import PATIENCE, QUICK, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from p2p_copy.transport.link import Link
    from tests.support.certificates import Certificates
    from tests.support.ordered import Ordered


_SHORTENED = "from p2p_copy.relay import limits; from p2p_copy.cli.main import main; "


class HintingClients(Relay):
    """Clients that offer the hint over TLS, as our own do."""

    @asynccontextmanager
    async def client(self, path: str) -> AsyncIterator[Link]:
        hint = room_hint(path.rpartition("/")[2])
        async with connect(self.address, path, ca_file=self.ca_file, hint=hint) as link:
            yield link


class WorkersRelay:
    """The process, and its workers.

    Attributes:
        clients: clients that offer a hint.
        plain_clients: clients without one.

    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        certificates: Certificates | Ordered | None = None,
        where: tuple[str, ...] = ("127.0.0.1:0",),
        workers: int = 2,
        cwd: Path | None = None,
        level: str = "debug",
        shortened: Mapping[str, float] | None = None,
        page: Path | None = None,
        **variables: str,
    ) -> None:
        self.admin = str(folder / "admin")
        self._log, self._errors = folder / "log", folder / "errors"
        changes = "".join(f"limits.{name} = {value}; " for name, value in (shortened or {}).items())
        if page is not None:
            changes += "from pathlib import Path; from p2p_copy.cli.options import relay_web; "
            changes += f"relay_web.BUILT = Path({str(page)!r}); "
        program = ("-c", f"{_SHORTENED}{changes}main()") if changes else ("-m", "p2p_copy")
        command = [sys.executable, *program, "run-relay-server", *where, "--workers", str(workers)]
        command += [*(certificates.options if certificates else ["--no-tls"]), "--log-level", level]
        command += ["--admin", f"unix:{self.admin}", *options]
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                cwd=cwd,
                env=environment(**variables),
            )
        found = self.wait_for(r"Relay listening on (\S+)")
        self.url = found[1]
        ca_file = certificates.authority if certificates else None
        self.ca_file = ca_file
        port = found[1].rpartition(":")[2]
        if port.isdecimal():
            self.clients = HintingClients(int(port), ca_file)
            self.plain_clients = Relay(int(port), ca_file)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait_for(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Wait until the log has lines like this, and return the last one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = list(re.finditer(pattern, self.log))
            if len(found) >= times:
                return found[-1]
            assert self.process.poll() is None or times == 0, self.errors
            time.sleep(0.02)
        raise AssertionError(f"not in the log: {pattern}\n{self.log}")

    @property
    def pids(self) -> dict[int, int]:
        """The process of each worker that was ever started, by its number."""
        started = re.findall(r"worker started, as process (\d+) \(worker (\d+)\)", self.log)
        return {int(number): int(pid) for pid, number in started}

    @property
    def living(self) -> set[int]:
        """The numbers of the workers whose processes live."""
        return {number for number, pid in self.pids.items() if lives(pid)}

    def ask(self, method: str, path: str, order: object = None) -> Any:
        """Ask or order at the admin address; return the answer's status, and its body or what its JSON is."""
        body = json.dumps(order) if order is not None else ""
        request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(UPGRADE_TIMEOUT)
            admin.connect(self.admin)
            admin.sendall(request.encode())
            reply = b"".join(iter(lambda: admin.recv(65536), b""))
        head, _, text = reply.decode().partition("\r\n\r\n")
        return int(head.split()[1]), json.loads(text) if text.startswith("{") else text

    @property
    def status(self) -> Any:
        status, body = self.ask("GET", "/status")
        assert status == 200
        return body

    def forgive(self) -> None:
        """Forget what was said on standard error so far."""
        self._errors.write_bytes(b"")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        """End it, if it lives; no process of it may be left, and none may have complained."""
        pids = self.pids.values()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            deadline = time.monotonic() + QUICK
            while self.process.poll() is None and not re.search("stopping in|stopped: ", self.log):
                assert time.monotonic() < deadline, "it does not obey"
                time.sleep(0.02)  # two signals that come before it looks are one
            self.signal(signal.SIGTERM)
        try:
            self.process.wait(QUICK)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert not self.errors, self.errors
        deadline = time.monotonic() + QUICK
        while any(map(lives, pids)):
            assert time.monotonic() < deadline, "a worker has outlived its relay"
            time.sleep(0.02)


def lives(pid: int) -> bool:
    """Return whether this process runs; one that has ended may wait for its parent to notice."""
    try:
        os.kill(pid, 0)
        if sys.platform == "linux":
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


@asynccontextmanager
async def waiting(clients: Relay, role: Role, name: str, claim: str | None = None) -> AsyncIterator[Link]:
    """Yield a client that waits in a room; it is closed politely."""
    async with clients.client(room_path(room(name))) as link:
        await link.send(hello(role, claim))
        assert isinstance(await answer(link), Welcome)
        yield link
