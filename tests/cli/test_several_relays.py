"""Several relays in whole commands: named in any way, with a token each; one that is killed moves its pairs."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.relay.access.tokens import line_for
from tests.support.processes import CODE, QUICK, Running, relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 40_000_000


@pytest.fixture
def relays() -> Iterator[dict[str, Running]]:
    """Three relays, by their addresses."""
    with ExitStack() as stack:
        yield dict(stack.enter_context(relay()) for _ in range(3))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    return tmp_path / "large"


def servers(urls: list[str]) -> tuple[str, ...]:
    return tuple(word for url in urls for word in ("--server", url))


def until(running: Running, event: str, size: int = 0, links: int = 1) -> dict[str, Any]:
    """Return the next event of this kind, a `progress` with at least this size and so many links."""
    assert running.process.stdout is not None
    for line in running.process.stdout:
        said: dict[str, Any] = json.loads(line)
        if said["event"] == event and said.get("size", 0) >= size and said.get("links", links) >= links:
            return said
    raise AssertionError(f"it ended without {event}")


@pytest.mark.slow  # five processes, and megabytes at a limited rate
def test_a_killed_relay_moves_its_pairs_and_nothing_is_lost(
    relays: dict[str, Running], tmp_path: Path, large: Path
) -> None:
    urls, out = list(relays), tmp_path / "out"
    one = Running(
        "send",
        str(large),
        *servers(urls),
        "--limit-rate",
        "16M",
        "--links",
        "1",
        "--verbose",
        P2P_COPY_CODE=CODE,
    )
    other = Running(
        "receive",
        "--out",
        str(out),
        "--json",
        "--yes",
        P2P_COPY_CODE=CODE,
        P2P_COPY_SERVER=" ".join(urls[::-1]),
    )
    met_at = until(other, "paired")["relay"]
    until(other, "progress", SIZE // 8)
    relays[met_at].kill()
    again = until(other, "paired")["relay"]
    (code, _, said), (other_code, _, _) = one.wait(), other.wait()
    assert (code, other_code) == (0, 0), said
    assert again in set(urls) - {met_at}
    assert (out / "large").read_bytes() == large.read_bytes()
    assert f"Connecting to {met_at}." in said
    assert f"Reconnected through {again.partition('://')[2]}." in said


@pytest.mark.slow  # five processes, and megabytes at a limited rate
def test_of_several_links_over_several_relays_a_killed_relay_costs_only_its_own(
    relays: dict[str, Running], tmp_path: Path, large: Path
) -> None:
    out, words = tmp_path / "out", (*servers(list(relays)), "--links", "8")
    one = Running("send", str(large), *words, "--limit-rate", "16M", P2P_COPY_CODE=CODE)
    other = Running("receive", "--out", str(out), *words, "--json", "--yes", P2P_COPY_CODE=CODE)
    met_at = until(other, "paired")["relay"]
    until(other, "progress", SIZE // 8, links=8)
    relays[met_at].kill()
    (code, _, said), (other_code, lines, _) = one.wait(), other.wait()
    assert (code, other_code) == (0, 0), said
    assert (out / "large").read_bytes() == large.read_bytes()
    assert "reconnecting" not in lines


@pytest.mark.slow  # six processes, and megabytes at a limited rate
def test_the_list_is_saved_and_a_transfer_is_resumed_without_the_relay_that_it_had(
    relays: dict[str, Running], tmp_path: Path, large: Path
) -> None:
    urls, out = list(relays), tmp_path / "out"
    one = Running("send", str(large), *servers(urls), "--limit-rate", "16M", P2P_COPY_CODE=CODE)
    other = Running("receive", "--out", str(out), *servers(urls), "--json", "--yes", P2P_COPY_CODE=CODE)
    met_at = until(other, "paired")["relay"]
    until(other, "progress", SIZE // 8)
    other.kill()
    relays[met_at].kill()
    listed = [json.loads(line) for line in Running("resume", "--json").wait(QUICK)[1].splitlines()]
    (mine,) = [each for each in listed if each.get("command") == "receive" and "id" in each]
    assert mine["relays"] == urls
    again = Running("resume", mine["id"])
    code, _, said = again.wait()
    assert (code, one.wait()[0]) == (0, 0), said
    assert (out / "large").read_bytes() == large.read_bytes()


@pytest.mark.slow  # four processes
def test_each_relay_is_told_its_own_token(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    tables = ["server = ['relay0', 'relay1']"]
    with ExitStack() as stack:
        urls = []
        for number in range(2):
            (tmp_path / f"tokens{number}").write_text(
                line_for(f"user{number}", f"token-of-relay-{number}" * 2)
            )
            (tmp_path / f"token{number}").write_text(f"token-of-relay-{number}" * 2)
            url, _ = stack.enter_context(
                relay("--no-tls", "--tokens-file", str(tmp_path / f"tokens{number}"))
            )
            tables.append(
                f"[relay.relay{number}]\nurl = '{url}'\ntoken-file = '{tmp_path / f'token{number}'}'"
            )
            urls.append(url)
        config = tmp_path / "config.toml"
        config.write_text("\n".join(tables))
        one = Running(
            "send", str(tmp_path / "file"), "--verbose", P2P_COPY_CODE=CODE, P2P_COPY_CONFIG=str(config)
        )
        one.wait_for(r"Waiting at .*, too\.")  # so both have taken its token
        words = ("--out", str(tmp_path / "out"), "--yes", "--server", "relay1")
        other = Running("receive", *words, P2P_COPY_CODE=CODE, P2P_COPY_CONFIG=str(config))
        assert other.wait()[0] == 0
        code, out, _ = one.wait()
        assert (code, out) == (0, f"On the other machine: p2p-copy receive {' '.join(servers(urls))}\n")


def test_when_none_answers_each_is_named_with_its_reason(tmp_path: Path) -> None:
    urls = ["ws://127.0.0.1:9", "ws://127.0.0.1:10"]
    for words, exit_code in ((("receive", "--out", str(tmp_path / "out")), 4), (("send", str(tmp_path)), 4)):
        code, out, said = Running(*words, *servers(urls), P2P_COPY_CODE=CODE).wait(QUICK)
        assert (code, out) == (exit_code, "")
        error = said.splitlines()[-1]
        reasons = (f" ({number}) {url}: {url[5:]} refuses" for number, url in enumerate(urls, 1))
        assert all(text in error for text in ("p2p-copy: None of the 2 relays can be used.", *reasons)), error


def test_more_relays_than_can_be_used_are_refused(tmp_path: Path) -> None:
    urls = [f"ws://127.0.0.1:{port}" for port in range(1, 10)]
    code, _, said = Running("send", str(tmp_path), *servers(urls), P2P_COPY_CODE=CODE).wait(QUICK)
    assert code == 2
    assert "There are 9 relays; a transfer can use 8." in said
