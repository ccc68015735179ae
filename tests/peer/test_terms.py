"""What a client tells its user of a relay's terms, and when it sends a token."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from p2p_copy.errors import RelayRefused
from p2p_copy.peer.waiting import binding_terms
from p2p_copy.protocol.rendezvous import Welcome
from p2p_copy.relay.access.tokens import line_for
from p2p_copy.transport.address import parse_address
from p2p_copy.units import GIB, MIB
from tests.support.transfers import Both, Told, copy, running_relay

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a token for tests"


class Noting(Told):
    """Remembers notices, too."""

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


def welcome(wait: int = 3600, rate: int | None = None, quota: int | None = None) -> Welcome:
    return Welcome("relay", max_message=1, wait=wait, rate=rate, quota=quota)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (welcome(), None),
        (welcome(wait=7200), None),
        (welcome(wait=60), "Relay limit: waits at most 1 min."),
        (welcome(rate=10 * MIB), "Relay limit: at most 10.0 MiB/s."),
        (
            welcome(60, 10 * MIB, 500 * GIB),
            "Relay limits: at most 10.0 MiB/s, 500.0 GiB more with this token, waits at most 1 min.",
        ),
    ],
)
def test_terms_that_bind_are_said_in_one_line(terms: Welcome, sentence: str | None) -> None:
    assert binding_terms(terms, wait=3600) == sentence


@pytest.mark.parametrize(
    ("relay", "may"),
    [
        ("wss://relay.example", True),
        ("ws://localhost:8765", True),
        ("ws://127.0.0.1:8765", True),
        ("ws://[::1]:8765", True),
        ("ws://relay.example", False),
        ("ws://192.0.2.1:8765", False),
    ],
)
def test_a_token_is_not_sent_where_the_network_can_read_it(relay: str, may: bool) -> None:
    address = parse_address(relay)
    assert address.keeps_secrets(proxied=False) is may
    assert address.keeps_secrets(proxied=True) is relay.startswith("wss://")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(random.Random(1).randbytes(1_000_000))
    return path


def tokens_file(tmp_path: Path, terms: str) -> str:
    path = tmp_path / "tokens"
    path.write_text(f"{line_for('tests', TOKEN)} {terms}\n")
    return str(path)


async def test_a_transfer_with_a_token_is_accepted_and_both_sides_are_told_the_terms(
    source: Path, tmp_path: Path
) -> None:
    observers = Noting(), Noting()
    with_token = {"token": TOKEN}
    async with running_relay(tokens_file=tokens_file(tmp_path, "quota=10M")) as relay:
        both = await copy(
            [source],
            tmp_path / "out",
            relay=relay,
            sending=with_token | {"wait": 60},
            receiving=with_token | {"wait": 60},
            both=both_with(*observers),
        )
    sent, _ = both.reports
    assert sent.failures == 0
    for observer in observers:
        assert observer.notices == ["Relay limit: 10.0 MiB more with this token."]


def both_with(sender: Told, receiver: Told) -> Both:
    both = Both()
    both.sender, both.receiver = sender, receiver
    return both


async def test_a_transfer_without_the_token_is_refused_on_both_sides(source: Path, tmp_path: Path) -> None:
    async with running_relay(tokens_file=tokens_file(tmp_path, "")) as relay:
        both = await copy([source], tmp_path / "out", relay=relay, sending={"token": "another"})
    assert isinstance(both.sent, RelayRefused)
    assert "access token is not known" in str(both.sent)
    assert isinstance(both.received, RelayRefused)
    assert "`token`" in str(both.received)


async def test_a_transfer_beyond_the_quota_says_why_it_ended(source: Path, tmp_path: Path) -> None:
    with_token = {"token": TOKEN}
    async with running_relay(tokens_file=tokens_file(tmp_path, "quota=500K")) as relay:
        both = await copy([source], tmp_path / "out", relay=relay, sending=with_token, receiving=with_token)
    for error in (both.sent, both.received):
        assert isinstance(error, RelayRefused), error
        assert "quota" in str(error)
    assert not (tmp_path / "out" / "source").exists()
