"""The file of tokens, and the accounts that it makes."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.access.rates import PairingLimits
from p2p_copy.relay.access.tokens import Tokens, line_for
from p2p_copy.units import GIB, MIB
from tests.support.websocket import virtual_time

if TYPE_CHECKING:
    from pathlib import Path

ANN, BOB = "ann's own token", "bob's own token"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(
        f"# who may use this relay\n\n{line_for('ann', ANN)}\n  {line_for('bob@lab', BOB)} quota=1K # guest\n"
    )
    return path


def write(file: Path, text: str) -> None:
    file.write_text(text)


def read(file: Path) -> str:
    return file.read_text()


def test_a_token_leads_to_its_account(file: Path) -> None:
    tokens = Tokens(str(file))
    assert len(tokens) == 2
    ann, bob = tokens.account(ANN), tokens.account(BOB)
    assert ann is not None
    assert bob is not None
    assert ann is not bob
    assert (ann.queue, ann.quota, ann.left) == (None, None, None)
    assert (bob.queue, bob.quota, bob.left) == (None, 1024, 1024)


@pytest.mark.parametrize("token", [None, "", "nobody's", ANN + " ", ANN.upper(), "\ud800", "x" * 100_000])
def test_another_token_or_none_leads_nowhere(file: Path, token: str | None) -> None:
    assert Tokens(str(file)).account(token) is None


def test_every_hash_is_compared_for_any_token(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    really = hmac.compare_digest

    def compare(known: bytes, digest: bytes) -> bool:
        compared.append(known)
        return really(known, digest)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = Tokens(str(file))
    for token in (ANN, BOB, "nobody's", None):
        compared.clear()
        tokens.account(token)
        assert len(compared) == 2


def test_rates_and_quotas_have_units(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    terms = ["rate=10M/s quota=2T", "rate=65536", "quota=0", "QUOTA=5g RATE=1m/S", "rate=10MB quota=1.5GB"]
    path.write_text("\n".join(f"{line_for(f'n{i}', str(i))} {term}" for i, term in enumerate(terms)))
    tokens = Tokens(str(path))
    accounts = [tokens.account(str(number)) for number in range(len(terms))]
    assert [(account.queue and account.queue.rate, account.quota) for account in accounts if account] == [
        (10 * MIB, 2048 * GIB),
        (65536, None),
        (None, 0),
        (MIB, 5 * GIB),
        (10_000_000, 1_500_000_000),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ann", "no sha256:"),
        ("ann sha256:abc", "no sha256:"),
        ("ann a-token-in-the-clear", "no sha256:"),
        ("a/b sha256:" + "0" * 64, "other characters"),
        ("x" * 65 + " sha256:" + "0" * 64, "too many"),
        ("ann sha256:" + "0" * 64 + " rate=fast", "64K, 10MB/s"),
        ("ann sha256:" + "0" * 64 + " quota=-1", "64K, 10MiB"),
        ("ann sha256:" + "0" * 64 + " rate=1K", "below 64K"),
        (line_for("bob", ANN), "twice"),
        (line_for("ann", BOB), "twice"),
    ],
)
def test_a_mistake_is_named_by_its_line_and_not_repeated(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{line_for('ann', ANN)}\n{line}\n")
    with pytest.raises(CannotListen, match=words) as caught:
        Tokens(str(path))
    assert "line 2" in str(caught.value)
    assert "in-the-clear" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="cannot be read: No such file"):
        Tokens(str(tmp_path / "missing"))
    (tmp_path / "binary").write_bytes(b"\x80")
    with pytest.raises(CannotListen, match="not UTF-8"):
        Tokens(str(tmp_path / "binary"))
    (tmp_path / "long").write_bytes(bytes(limits.MAX_TOKENS_FILE + 1))
    with pytest.raises(CannotListen, match="too long"):
        Tokens(str(tmp_path / "long"))


async def test_a_reload_applies_changes_and_keeps_what_was_used(file: Path) -> None:
    tokens = Tokens(str(file))
    bob = tokens.account(BOB)
    assert bob is not None
    bob.used += 1000
    write(file, f"{line_for('bob@lab', 'a new one')} quota=2K\n")
    await tokens.reload()
    assert tokens.account(ANN) is None
    assert tokens.account(BOB) is None
    assert tokens.account("a new one") is bob
    assert bob.left == 1048


async def test_a_token_that_is_removed_and_put_back_keeps_what_it_used(file: Path) -> None:
    before = read(file)
    tokens = Tokens(str(file))
    bob = tokens.account(BOB)
    assert bob is not None
    bob.used += 1024
    write(file, "")
    await tokens.reload()
    assert tokens.account(BOB) is None
    write(file, before)
    await tokens.reload()
    assert tokens.account(BOB) is bob
    assert bob.left == 0


@virtual_time()
async def test_a_changed_rate_holds_for_running_pairings(file: Path) -> None:
    write(file, f"{line_for('ann', ANN)} rate=1M\n")
    tokens = Tokens(str(file))
    ann = tokens.account(ANN)
    assert ann is not None
    pairing = PairingLimits([ann.queue] if ann.queue else [])
    await pairing.pay(MIB)
    ann.set_terms(2 * MIB, None)  # as a reload does, whose thread has no virtual time
    began = trio.current_time()
    await pairing.pay(10 * MIB)
    await pairing.pay(MIB)
    assert trio.current_time() - began == pytest.approx(5)


async def test_a_reload_that_fails_changes_nothing(file: Path) -> None:
    tokens = Tokens(str(file))
    write(file, f"{line_for('bob@lab', BOB)} quota=7\nwrong\n")
    with pytest.raises(CannotListen):
        await tokens.reload()
    bob = tokens.account(BOB)
    assert tokens.account(ANN) is not None
    assert bob is not None
    assert bob.quota == 1024


def test_the_line_holds_a_hash_and_no_token() -> None:
    assert line_for("ann", ANN) == f"ann sha256:{hashlib.sha256(ANN.encode()).hexdigest()}"
    for name in ("", "a b", "a#b", "ä", "x" * 65):
        with pytest.raises(ValueError, match="name"):
            line_for(name, ANN)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_be_written_by_any_editor(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"Line: {line_for('ann', ANN)}\r\n{line_for('bob', BOB)}\r\n", encoding=encoding)
    assert Tokens(str(path)).account(ANN) is not None
    assert Tokens(str(path)).account(BOB) is not None
