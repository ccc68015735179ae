"""Real ACME authorities on loopback, what stands between one and its client, and a small relay that proves names."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import trio
import trustme

from p2p_copy.acme.authority import REQUEST_THREAD
from tests.contrib.programs import PATIENCE, free_port, need, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

HOST = "127.0.0.1"
NAME = "relay.example"

EAB_KID = "kid-1"
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass(frozen=True)
class Served:
    """An authority that runs: its directory, who signs its TLS certificate, and where it looks for proofs."""

    directory: str
    ca_file: Path
    tls_port: int
    process_id: int = 0


@contextmanager
def outlasting_its_clients() -> Iterator[None]:
    """Leave the block only when no keeper of this process has a thread in a request any more.

    A keeper that is cancelled leaves its request behind. A server that ended before it could reset a connection whose
    TLS has not begun: `ssl` does not close such a socket, and the warning of that would fail some later test.
    """
    try:
        yield
    finally:
        deadline = time.monotonic() + PATIENCE
        while any(thread.name == REQUEST_THREAD for thread in threading.enumerate()):
            assert time.monotonic() < deadline, "a request has no end"
            time.sleep(0.01)


def server_files(folder: Path) -> tuple[Path, Path, Path]:
    """Make certificate and key for 127.0.0.1, and return them after the file of their authority."""
    authority, files = folder / "ca.pem", (folder / "server.pem", folder / "server.key")
    if not authority.exists():
        ca = trustme.CA()
        issued = ca.issue_cert(HOST)
        ca.cert_pem.write_to_path(authority)
        issued.cert_chain_pems[0].write_to_path(files[0])
        issued.private_key_pem.write_to_path(files[1])
    return (authority, *files)


@contextmanager
def pebble(
    folder: Path,
    *,
    life: int | None = None,
    eab: bool = False,
    any_proof: bool = False,
    bad_nonces: int = 0,
    port: int = 0,
    tls_port: int = 0,
    **variables: str,
) -> Iterator[Served]:
    """Run pebble, Let's Encrypt's authority for tests, where every name leads to 127.0.0.1.

    Args:
        folder: for its files.
        life: seconds that certificates are valid.
        eab: it wants external account binding.
        any_proof: it believes every proof, without looking.
        bad_nonces: how many of a hundred good nonces it refuses.
        port: where it listens; 0 for any.
        tls_port: where it looks for proofs; 0 for any.
        variables: its further settings, such as PEBBLE_VA_SLEEPTIME.

    """
    folder.mkdir(exist_ok=True)
    ca_file, certificate, key = server_files(folder)
    port, tls_port, dns = port or free_port(), tls_port or free_port(), free_port()
    config: dict[str, Any] = {
        "listenAddress": f"{HOST}:{port}",
        "managementListenAddress": f"{HOST}:{free_port()}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": free_port(),
        "tlsPort": tls_port,
        "externalAccountBindingRequired": eab,
    }
    if life is not None:
        config["certificateValidityPeriod"] = life
    if eab:
        config["externalAccountMACKeys"] = {EAB_KID: EAB_KEY}
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    words = [need("pebble"), "-config", str(folder / "config.json"), "-dnsserver", f"{HOST}:{dns}"]
    names = [
        need("pebble-challtestsrv"),
        "-dns01",
        f"{HOST}:{dns}",
        "-defaultIPv6",
        "",
        "-http01",
        "",
        "-https01",
        "",
    ]
    names += ["-tlsalpn01", "", "-management", f"{HOST}:{free_port()}"]
    settings = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": str(bad_nonces)}
    if any_proof:
        settings["PEBBLE_VA_ALWAYS_VALID"] = "1"
    settings |= variables
    with ExitStack() as stack:
        stack.enter_context(serving(names, dns, folder / "dns.log"))
        process = stack.enter_context(serving(words, port, folder / "pebble.log", **settings))
        stack.enter_context(outlasting_its_clients())
        yield Served(f"https://{HOST}:{port}/dir", ca_file, tls_port, process.pid)


@contextmanager
def caddy(folder: Path) -> Iterator[Served]:
    """Run caddy as an authority. It looks for proofs at port 443 only, and serves its own certificate."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    config = f"""{{
    admin off
    auto_https disable_redirects
    storage file_system {folder / "storage"}
    skip_install_trust
}}
https://{HOST}:{port} {{
    bind {HOST}
    tls internal
    acme_server
}}
"""
    (folder / "Caddyfile").write_text(config)
    words = [need("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with serving(words, port, folder / "caddy.log", HOME=str(folder)) as process, outlasting_its_clients():
        ca_file = folder / "storage" / "pki" / "authorities" / "local" / "root.crt"
        yield Served(f"https://{HOST}:{port}/acme/local/directory", ca_file, 443, process.pid)


# Between an authority and its client


@dataclass
class Answer:
    """What a client is answered."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def problem(cls, status: int, kind: str, detail: str, **headers: str) -> Answer:
        body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
        return cls(
            status,
            {"Content-Type": "application/problem+json", **headers},
            json.dumps(body).encode(),
        )


@dataclass(frozen=True)
class Request:
    """What a client asked. `payload` is what it signed, None if that was nothing."""

    method: str
    path: str
    payload: Any


Edit = "Callable[[Request, Callable[[], Answer]], Answer]"
"""Is given a request and what asks the authority, and returns what the client is answered."""


@contextmanager
def between(
    served: Served, folder: Path, edit: Callable[[Request, Callable[[], Answer]], Answer]
) -> Iterator[Served]:
    """Run a server that passes requests on to an authority, and lets `edit` change the answers.

    The authority sees the address by which its client came, and names only that.
    """
    ca_file, certificate, key = server_files(folder)
    upstream_port = int(served.directory.split(":")[2].split("/")[0])
    trusting = ssl.create_default_context(cafile=served.ca_file)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            payload = json.loads(sent)["payload"] if sent else ""
            decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            request = Request(self.command, self.path, json.loads(decoded) if decoded else None)
            got = edit(request, lambda: self.ask(sent))
            self.send_response_only(got.status)
            for name, value in got.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(got.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(got.body)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815 - their names are the library's

        def ask(self, sent: bytes) -> Answer:
            connection = http.client.HTTPSConnection(HOST, upstream_port, context=trusting, timeout=20)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            with closing(connection):
                connection.request(self.command, self.path, sent or None, headers)
                response = connection.getresponse()
                return Answer(response.status, dict(response.headers.items()), response.read())

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def __init__(self) -> None:
            self.clients: list[ssl.SSLSocket] = []
            super().__init__((HOST, 0), Handler)

        def get_request(self) -> tuple[ssl.SSLSocket, Any]:
            sock, address = self.socket.accept()
            # The handshake is the business of the client's own thread: this one serves them all.
            secure = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self.clients.append(secure)
            return secure, address

        def handle_error(self, *_: Any) -> None:
            pass  # clients go away

    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        path = served.directory.split("/", 3)[3]
        address = f"https://{HOST}:{server.server_port}/{path}"
        try:
            with outlasting_its_clients():
                yield Served(address, ca_file, served.tls_port, served.process_id)
        finally:
            server.shutdown()
            thread.join()
            for client in server.clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)


def with_renewal_info(
    window: Callable[[], tuple[str, str]], **headers: str
) -> Callable[[Request, Callable[[], Answer]], Answer]:
    """Return an edit that adds what Debian's pebble lacks: when to renew (RFC 9773)."""

    def edit(request: Request, ask: Callable[[], Answer]) -> Answer:
        if request.path.startswith("/renewal-info/"):
            start, end = window()
            body = json.dumps({"suggestedWindow": {"start": start, "end": end}}).encode()
            return Answer(200, {"Content-Type": "application/json", **headers}, body)
        answer = ask()
        if request.path == "/dir":
            directory = json.loads(answer.body)
            base = directory["newOrder"].rpartition("/")[0]
            directory["renewalInfo"] = f"{base}/renewal-info"
            answer.body = json.dumps(directory).encode()
        return answer

    return edit


class Watch:
    """An edit that writes down what is asked, and lets a test answer in the authority's place."""

    def __init__(self, **instead: Callable[[Request, Callable[[], Answer]], Answer]) -> None:
        """`instead` has answers by a part of the path: `order` for `/order-plz`."""
        self.requests: list[Request] = []
        self.instead = instead

    def __call__(self, request: Request, ask: Callable[[], Answer]) -> Answer:
        self.requests.append(request)
        for part, answer in self.instead.items():
            if part in request.path:
                return answer(request, ask)
        return ask()

    def asked(self, part: str) -> list[Any]:
        return [request.payload for request in self.requests if part in request.path]


class Gate:
    """Lets a request through, and keeps its answer until the test opens."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _: Request, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        self.reached.set()
        self.open.wait(20)
        return answer

    async def wait(self) -> None:
        assert await trio.to_thread.run_sync(self.reached.wait, 20)


# The relay's part


class Responder:
    """Shows challenges' certificates at a port, as a relay does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context: ssl.SSLContext | None = None
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def open(self, identifier: str, certificate_pem: bytes, key_pem: bytes) -> None:
        pem = self._folder / "challenge.pem"
        pem.write_bytes(certificate_pem + key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.set_alpn_protocols(["acme-tls/1"])
        self._context = context
        self.opened.append(identifier)

    async def close(self, identifier: str) -> None:
        self._context = None
        self.closed.append(identifier)

    async def _handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._context is not None:
                secure = trio.SSLStream(stream, self._context, server_side=True)
                try:
                    with trio.move_on_after(5):
                        await secure.do_handshake()
                        await secure.receive_some(1)
                except (trio.BrokenResourceError, ssl.SSLError):
                    pass

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Answer at a port of 127.0.0.1."""
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_tcp, self._handle, port, host=HOST))
            yield
            nursery.cancel_scope.cancel()
