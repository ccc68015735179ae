"""What the kernel tells of the machine at the other end."""

from __future__ import annotations

import socket
import struct
import sys

import pytest
import trio

from p2p_copy.transport import limits
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.tcp_info import acked_bytes, silence_in, silent_for
from tests.support.links import serving


def tcp_info(retransmits: int, probes: int, silent: int) -> bytes:
    return struct.pack("Bx2B52xI", 1, retransmits, probes, silent) + bytes(100)


@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        (tcp_info(0, 0, 99_000), 0),
        (tcp_info(1, 1, 99_000), 0),
        (tcp_info(limits.TCP_UNANSWERED, 0, 61_000), 61),
        (tcp_info(0, limits.TCP_UNANSWERED, 61_000), 61),
        (b"", 0),
    ],
)
def test_a_machine_is_silent_when_the_kernel_has_asked_several_times_in_vain(
    info: bytes, seconds: float
) -> None:
    assert silence_in(info) == seconds


async def test_a_machine_whose_program_does_not_read_is_not_silent() -> None:
    async def ignore(_stream: TCPStream) -> None:
        await trio.sleep_forever()

    async with (
        serving(ignore) as address,
        TCPStream(await trio.open_tcp_stream(address.host, address.port)) as client,
    ):
        with trio.move_on_after(1.5):  # the kernel asks after 0.2 seconds, 0.6 and 1.4
            while True:
                await client.send_all(bytes(100_000))
        assert silent_for(client) == 0
        acked, waits = acked_bytes(client)
        assert waits is (sys.platform == "linux")
        assert acked < 100_000_000


async def test_nothing_is_known_of_other_sockets() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with TCPStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours))) as stream:
            assert silent_for(stream) == 0
            assert acked_bytes(stream) == (0, False)
