"""Both ends of a connection without I/O."""

from __future__ import annotations

import pytest
from wsproto.events import AcceptConnection, Ping, Pong, Request

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transport import limits
from p2p_copy.transport.codec import Codec
from p2p_copy.transport.frames import NO_MASK
from p2p_copy.transport.inbox import Piece


def opened() -> tuple[Codec, Codec]:
    """Return a client's codec and a server's behind their handshake."""
    client, server = (Codec(is_client=kind, max_message=protocol_limits.MAX_RECORD) for kind in (True, False))
    server.receive_data(client.send(Request(host="x", target="/")))
    list(server.events())
    client.receive_data(server.send(AcceptConnection()))
    list(client.events())
    return client, server


def said(codec: Codec, message: bytes | str) -> list[bytes]:
    return [buffer for buffer in codec.encode([Piece.whole(message)]) if isinstance(buffer, bytes)]


@pytest.mark.parametrize(
    ("message", "is_masked"),
    [
        (bytes(limits.UNMASKED), False),
        (bytes(limits.UNMASKED - 1), True),
        ("x" * limits.UNMASKED, True),
    ],
)
def test_long_binary_messages_of_clients_have_a_mask_of_zeros_and_no_others(
    message: bytes | str, is_masked: bool
) -> None:
    client, server = opened()
    head, payload = said(client, message)
    assert head[1] & 0x80
    assert (head[-4:] != NO_MASK) is is_masked
    server.receive_data(head + payload)
    assert server.inbox.pop() == Piece.whole(message)


def test_a_server_masks_nothing() -> None:
    _, server = opened()
    head, _ = said(server, bytes(limits.UNMASKED))
    assert not head[1] & 0x80


def test_frames_are_work_but_for_answers_to_pings_of_this_side() -> None:
    client, server = opened()
    pings = [server.send(Ping(payload=bytes([number]))) for number in range(2)]
    client.receive_data(b"".join(pings))
    for event in client.events():
        assert isinstance(event, Ping)
        server.receive_data(client.send(event.response()))
    assert server.pop_work(0) == 0
    server.receive_data(client.send(Pong(payload=b"unasked")))
    server.receive_data(client.send(Ping()))
    assert server.pop_work(0) == 2
    assert server.pop_work(5) == 5, "TLS records that hold no frames"
