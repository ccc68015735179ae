"""An authority is told from clients by its ClientHello, and clients notice nothing of it."""

from __future__ import annotations

import itertools
import ssl
import stat
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.errors import RelayUnreachable
from p2p_copy.protocol.rendezvous import room_path
from p2p_copy.relay import limits
from p2p_copy.relay.entry.challenges import Challenge
from tests.relay.clients import LocalRelay, relay_running, room
from tests.support.challenges import challenge_certificate, shake_hands
from tests.support.links import tcp_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACME = "acme-tls/1"
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@asynccontextmanager
async def ordering(folder: Path, tls_settings: dict[str, Any] | None = None) -> AsyncIterator[LocalRelay]:
    """Run a relay whose certificate is ordered, and which has been given one if there are settings."""
    settings = dict(tls_settings or {"ca_file": None})
    files = settings.pop("certfile", None), settings.pop("keyfile", None)
    async with relay_running(**settings, challenge_folder=folder) as relay:
        relay.address = relay.address._replace(tls=True)
        if files != (None, None):
            assert await relay.server.use_certificate(*files)
        yield relay


def challenge_of(relay: LocalRelay) -> Challenge:
    assert relay.server.certificates is not None
    assert relay.server.certificates.challenge is not None
    return relay.server.certificates.challenge


OFFERS = [
    ((ACME,), ACME),
    ((ACME, "http/1.1"), "http/1.1"),
    (("http/1.1", ACME), "http/1.1"),
    (("http/1.1", "p2p-copy-5c"), "http/1.1"),
    (("acme-tls/2",), None),
    ((), None),
]
NAMES = ["relay.example", "1.0.0.127.in-addr.arpa", None]
PIECES = [7, 1 << 16]


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("again", [False, True], ids=["", "hello-retry-request"])
async def test_who_is_the_authority_is_told_by_the_only_protocol_that_it_offers(
    tmp_path: Path, tls_settings: dict[str, Any], version: ssl.TLSVersion, again: bool
) -> None:
    pem, key = challenge_certificate()
    answer = ssl.PEM_cert_to_DER_cert(pem.decode())
    async with ordering(tmp_path / "challenge", tls_settings) as relay:
        challenge = challenge_of(relay)
        await challenge.open("relay.example", pem, key)
        if again:  # clients guess X25519
            assert challenge._context is not None
            assert relay.server.certificates is not None
            for context in (challenge._context, relay.server.certificates.context):
                context.set_ecdh_curve("prime256v1")

        async def connect(offered: tuple[str, ...], chosen: str | None, **how: Any) -> None:
            async with await relay.tcp() as stream:
                shown = await shake_hands(stream, *offered, version=version, **how)
            assert (shown.protocol, shown.certificate == answer) == (chosen, chosen == ACME)

        async with trio.open_nursery() as nursery:
            for (offered, chosen), name, piece in itertools.product(OFFERS, NAMES, PIECES):
                nursery.start_soon(partial(connect, offered, chosen, name=name, piece=piece))
        await challenge.close("relay.example")
        await connect((ACME,), None)


async def test_clients_are_served_while_a_challenge_is_open(
    tmp_path: Path, tls_settings: dict[str, Any]
) -> None:
    async with ordering(tmp_path / "challenge", tls_settings) as relay:
        await challenge_of(relay).open("relay.example", *challenge_certificate())
        await relay.works("a room")


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_half_a_hello_has_the_time_of_any_client_and_no_more(
    tmp_path: Path, tls_settings: dict[str, Any], sent: bytes
) -> None:
    settings = tls_settings | {"accept_budget": 0.2}
    async with ordering(tmp_path / "challenge", settings) as relay:
        await challenge_of(relay).open("relay.example", *challenge_certificate())
        async with await relay.tcp() as stream:
            await stream.send_all(sent)
            with trio.fail_after(5), suppress(trio.BrokenResourceError):
                assert not await stream.receive_some()


async def test_a_record_that_is_too_long_is_a_clients_and_is_not_waited_for() -> None:
    client, server = await tcp_pair()
    challenge = Challenge("unused")
    challenge._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    said = b"\x16\x03\x01\xff\xff" + bytes(limits.MAX_CLIENT_HELLO)
    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, said)
        with trio.fail_after(5):
            assert not await challenge.answer(server)


async def test_without_a_challenge_nothing_is_looked_at(
    tmp_path: Path, tls_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise AssertionError("it was looked at")

    monkeypatch.setattr(Challenge, "answer", fail)
    async with ordering(tmp_path / "challenge", tls_settings) as relay:
        await relay.works("a room")
    assert not (tmp_path / "challenge").exists()


async def test_keys_lie_in_a_private_folder_only_until_they_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "challenge"
    folder.mkdir(0o755, parents=True)
    (folder / "left.pem").write_text("the key of a relay that was killed")
    challenge = Challenge(str(folder))
    assert not challenge
    await challenge.open("relay.example", *challenge_certificate())
    assert challenge
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not [*folder.iterdir()]
    with pytest.raises(ssl.SSLError):
        await challenge.open("relay.example", b"no certificate", b"no key")
    assert not [*folder.iterdir()]
    await challenge.close("relay.example")
    await challenge.close("relay.example")
    assert not challenge


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("name", ["relay.example", None])
async def test_before_the_first_certificate_other_clients_get_an_alert(
    tmp_path: Path, version: ssl.TLSVersion, name: str | None
) -> None:
    async with ordering(tmp_path / "challenge") as relay, await relay.tcp() as stream:
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_INTERNAL_ERROR"):
            await shake_hands(stream, "http/1.1", version=version, name=name)


async def test_before_the_first_certificate_our_clients_say_so(
    tmp_path: Path, tls_settings: dict[str, Any]
) -> None:
    settings = {"ca_file": tls_settings["ca_file"]}
    async with ordering(tmp_path / "challenge", settings) as relay:
        with pytest.raises(RelayUnreachable, match="The relay has no certificate yet"):
            async with relay.client(room_path(room("a room"))):
                pass
        assert await relay.server.use_certificate(tls_settings["certfile"], tls_settings["keyfile"])
        await relay.works("a room")


async def test_a_certificate_that_fails_its_rehearsal_is_not_used(
    tmp_path: Path, tls_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with ordering(tmp_path / "challenge", tls_settings) as relay:
        pem, _ = challenge_certificate()
        (tmp_path / "other.pem").write_bytes(pem)
        assert not await relay.server.use_certificate(tmp_path / "other.pem", tls_settings["keyfile"])
        assert "The key does not belong to the certificate" in caplog.text
        assert await relay.server.reload()
        await relay.works("a room")


async def test_a_certificate_that_is_ordered_is_late_below_a_sixth_of_its_life(
    tmp_path: Path, tls_settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with ordering(tmp_path / "challenge", tls_settings) as relay:
        certificates = relay.server.certificates
        assert certificates is not None
        said = []
        for left in (0.2, 0.16, 0.01, -0.01):
            certificates.expires = time.time() + left * certificates._life
            caplog.clear()
            certificates.warn_of_end()
            said.append([record.getMessage() for record in caplog.records])
    assert [len(lines) for lines in said] == [0, 1, 0, 1]
    assert "could not be renewed yet" in said[1][0]
    assert "has expired" in said[3][0]
