"""Relays with two workers, without and with TLS."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.protocol.rendezvous import room_path
from tests.relay.clients import room
from tests.relay.workers.relays import WorkersRelay
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if not hasattr(socket.socket, "sendmsg"):
    collect_ignore_glob = ["test_*"]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("workers-tls"))


@pytest.fixture
def start(tmp_path: Path, certificates: Certificates) -> Iterator[Callable[..., WorkersRelay]]:
    """Return what starts a relay with two workers and further options; each is ended at the end of the test."""
    started: list[WorkersRelay] = []

    def start(*options: str, tls: bool = False, own: Certificates | None = None, **more: Any) -> WorkersRelay:
        folder = tmp_path / f"relay{len(started)}"
        folder.mkdir()
        shown = (own or certificates) if tls else None
        relay = WorkersRelay(folder, *options, certificates=shown, **more)
        started.append(relay)
        return relay

    yield start
    for relay in started:
        relay.close()


@pytest.fixture
def of_place() -> Callable[[int], str]:
    """Return what makes names of rooms, each another one, that the worker at this place of two has."""
    numbers = itertools.count()

    def name(place: int) -> str:
        return next(name for name in map("room {}".format, numbers) if int(room(name)[:2], 16) % 2 == place)

    assert room_path(room(name(0))) != room_path(room(name(0)))
    return name
