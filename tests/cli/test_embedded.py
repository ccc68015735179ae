"""The relay inside a sender."""

from __future__ import annotations

import socket

import pytest

from p2p_copy.cli.embedded import embedded_relay, seen_from_elsewhere
from p2p_copy.errors import CannotListen

LOOPBACK = "127.0.0.1"


async def test_a_port_that_is_taken_gives_way_to_the_next_choice() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        async with embedded_relay([(LOOPBACK, port), (LOOPBACK, 0)]) as (own, seen_as):
            assert own == seen_as
            assert own.startswith(f"ws://{LOOPBACK}:")
            assert own != f"ws://{LOOPBACK}:{port}"


async def test_a_port_that_was_asked_for_by_name_does_not() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.RaisesGroup(CannotListen):
        async with embedded_relay([taken.getsockname()]):
            raise AssertionError("it cannot have started")


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "relay.example"])
def test_a_place_with_a_name_is_called_by_it(host: str) -> None:
    assert seen_from_elsewhere(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_everywhere_is_called_by_an_address_or_name_that_means_this_machine_elsewhere(host: str) -> None:
    assert seen_from_elsewhere(host) not in {"", "0.0.0.0", "::", "127.0.0.1", "::1"}
