"""What a browser says to a relay, and how it hears the answer."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

import trio

from tests.support.websocket import UPGRADE

if TYPE_CHECKING:
    from tests.relay.clients import Relay

UPGRADED = 101
WHOLE = "GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "no header comes twice"
    return Answer(int(first.split()[1]), headers, body)


async def opened(relay: Relay) -> trio.abc.Stream:
    stream: trio.abc.Stream = await relay.tcp()
    if relay.ca_file is not None:
        context = ssl.create_default_context(cafile=relay.ca_file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
    return stream


async def said(stream: trio.abc.Stream, request: str | bytes) -> bytes:
    """Send a request, and return all that comes until the relay closes."""
    answer = b""
    async with stream:
        await stream.send_all(request.encode() if isinstance(request, str) else request)
        while more := await stream.receive_some(65536):
            answer += more
    return answer


async def asked(relay: Relay, path: str, headers: str = "", method: str = "GET") -> Answer:
    """Ask as a browser does, which leaves as soon as it has the body that was announced."""
    answer = b""
    async with await opened(relay) as stream:
        await stream.send_all(WHOLE.format(path, headers).replace("GET", method, 1).encode())
        while not _is_whole(answer, has_body=method != "HEAD"):
            more = await stream.receive_some(65536)
            assert more, "the answer is cut"
            answer += more
    return parsed(answer)


def _is_whole(answer: bytes, *, has_body: bool) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    size = re.search(rb"Content-Length: ([0-9]+)", head)
    return bool(end) and (size is None or not has_body or len(body) >= int(size[1]))


def upgrade(path: str, host: str, *origins: str) -> bytes:
    more = "".join(f"Origin: {origin}\r\n" for origin in origins)
    return UPGRADE.replace(b"GET / ", f"GET {path} ".encode()).replace(
        b"Host: x\r\n", f"Host: {host}\r\n{more}".encode()
    )


async def status_of(relay: Relay, request: bytes) -> int:
    stream = await opened(relay)
    async with stream:
        await stream.send_all(request)
        return int(bytes(await stream.receive_some(65536)).split(maxsplit=2)[1])
