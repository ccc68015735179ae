"""The arguments and options of the public functions: every accepted form, and the errors of wrong ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme

import p2p_copy
from p2p_copy import (
    Code,
    Conflict,
    Names,
    Preserve,
    ReceiveOptions,
    SendOptions,
    Symlinks,
)
from p2p_copy.errors import UsageError
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.store import States
from p2p_copy.files.user_paths import as_path, as_paths
from p2p_copy.options import RelayAccess
from p2p_copy.protocol.code import CodeTypo
from p2p_copy.relay.config import RelayConfig
from tests.support.transfers import CODE, receive, running_relay, send

if TYPE_CHECKING:
    from p2p_copy.options import TransferOptions

NOWHERE = "ws://127.0.0.1:1"
"""An address without a relay: a wrong argument must be refused before connecting."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with more files than any test sends."""
    place = tmp_path / "here"
    place.mkdir()
    for name in ("notes.txt", "other.txt", "n"):
        (place / name).write_text(name)
    monkeypatch.chdir(place)
    return place


async def pair(
    paths: Any,
    out: Any,
    relay: str,
    *,
    sending: dict[str, Any] | None = None,
    receiving: dict[str, Any] | None = None,
) -> None:
    """Run a whole transfer with exactly these arguments."""
    common: dict[str, Any] = {"relay": relay, "code": CODE, "patience": 0}
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: send(paths, **common, **(sending or {})))
            await receive(out, **common, **(receiving or {}))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    "paths", ["notes.txt", Path("notes.txt"), ["notes.txt"], (Path("notes.txt"),), {"notes.txt": 1}]
)
async def test_one_path_or_several_in_any_form_are_sent(here: Path, tmp_path: Path, paths: Any) -> None:
    async with running_relay() as relay:
        await pair(paths, tmp_path / "out", relay)
    assert names_in(tmp_path / "out") == ["notes.txt"]


def test_a_text_is_one_path_and_a_generator_is_several() -> None:
    assert as_paths("ab") == ("ab",)
    assert as_paths(name for name in ("a", Path("b"))) == ("a", "b")


def test_a_dash_is_a_standard_stream_only_as_text() -> None:
    assert as_path("-") == "-"
    assert as_paths([Path("-")]) == (os.path.join(".", "-"),)


@pytest.mark.parametrize("paths", [None, 7, b"notes.txt", [b"notes.txt"], [["notes.txt"]]])
async def test_an_argument_that_is_no_path_is_refused_at_once(here: Path, paths: Any) -> None:
    with pytest.raises(TypeError, match="a path is"):
        await send(paths, relay=NOWHERE, code=CODE)


async def test_a_text_is_one_pattern(here: Path, tmp_path: Path) -> None:
    async with running_relay() as relay:
        await pair(".", tmp_path / "out", relay, sending={"only": "*.txt"}, receiving={"exclude": "o*"})
    assert names_in(tmp_path / "out" / "here") == ["notes.txt"]


async def test_path_objects_are_taken_wherever_a_path_is(here: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("certificate", own.cert_chain_pems[0]),
        ("key", own.private_key_pem),
    ):
        blob.write_to_path(tmp_path / name)
    common = {"ca_file": tmp_path / "ca"}
    sent, received = tmp_path / "sent", tmp_path / "received"
    state = States(tmp_path / "state").create("0" * 32, Facts())
    async with running_relay(certfile=tmp_path / "certificate", keyfile=tmp_path / "key") as relay:
        await pair(
            here / "n",
            tmp_path / "out",
            relay,
            sending={"receipt": sent, "state": state, **common},
            receiving={"receipt": received, **common},
        )
    assert names_in(tmp_path / "out") == ["n"]
    assert sent.stat().st_size > 0
    assert received.stat().st_size > 0


def test_a_relay_takes_one_proxy_for_several() -> None:
    assert RelayConfig("127.0.0.1", trusted_proxies="10.0.0.0/8").trusted_proxies == ("10.0.0.0/8",)


def test_a_choice_may_be_given_as_its_text() -> None:
    given: dict[str, Any] = {
        "conflict": "overwrite",
        "names": "system",
        "preserve": ["hard-links", Preserve.OWNER],
    }
    options = ReceiveOptions(**given)
    assert (options.conflict, options.names) == (Conflict.OVERWRITE, Names.SYSTEM)
    assert options.preserve == (Preserve.HARD_LINKS, Preserve.OWNER)
    one: dict[str, Any] = {"symlinks": "copy", "preserve": "xattrs"}
    assert SendOptions(**one) == SendOptions(symlinks=Symlinks.COPY, preserve=(Preserve.XATTRS,))


def test_options_can_be_used_again() -> None:
    patterns: dict[str, Any] = {"only": (name for name in ("a", "b")), "exclude": "c"}
    options = SendOptions(**patterns)
    assert (options.only, options.exclude) == (("a", "b"), ("c",))
    assert replace(options, wait=1.0).only == ("a", "b")


def test_no_token_is_printed_with_the_options() -> None:
    assert "secret" not in repr(RelayAccess(NOWHERE, token="secret"))


async def test_a_choice_as_text_is_heeded(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "n").write_text("old")
    async with running_relay() as relay:
        await pair("n", out, relay, receiving={"conflict": "overwrite"})
    assert (out / "n").read_text() == "n"


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (SendOptions, {"symlinks": "gaga"}, "'keep', 'copy', 'skip'"),
        (SendOptions, {"symlinks": None}, "'keep', 'copy', 'skip'"),
        (SendOptions, {"symlinks": Conflict.SKIP}, "'keep', 'copy', 'skip'"),
        (SendOptions, {"preserve": "gaga"}, "'hard-links', 'xattrs', 'owner'"),
        (SendOptions, {"preserve": ["xattrs", "gaga"]}, "'hard-links', 'xattrs', 'owner'"),
        (ReceiveOptions, {"conflict": "gaga"}, "'refuse', 'overwrite', 'rename', 'skip'"),
        (ReceiveOptions, {"names": "gaga"}, "'portable', 'system'"),
        (ReceiveOptions, {"preserve": "x"}, "'hard-links', 'xattrs', 'owner'"),
        (ReceiveOptions, {"max_size": -1}, "0 or more"),
        (ReceiveOptions, {"max_files": 0}, "1 or more"),
    ],
)
def test_a_wrong_option_is_refused_when_the_object_is_made(
    kind: type[TransferOptions], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**settings)


@pytest.mark.parametrize("links", [0, 99])
async def test_a_wrong_number_of_links_is_refused_at_once(here: Path, links: int) -> None:
    for side in (send, receive):
        with pytest.raises(ValueError, match="from 1 to 16"):
            await side("n", relay=NOWHERE, code=CODE, links=links)
    assert names_in(here) == ["n", "notes.txt", "other.txt"]


@pytest.mark.parametrize("settings", [{"code": CODE.text}, {"ca_file": 7}, {"receipt": b"x"}])
async def test_an_argument_of_the_wrong_type_is_refused_at_once(here: Path, settings: dict[str, Any]) -> None:
    for side in (send, receive):
        with pytest.raises(TypeError):
            await side("n", **{"relay": NOWHERE, "code": CODE, **settings})


def test_every_public_choice_is_public() -> None:
    assert {Symlinks, Conflict, Names, Preserve} <= {getattr(p2p_copy, name) for name in p2p_copy.__all__}


@pytest.mark.parametrize(
    "parts",
    [("x", "y"), ("", "a long passphrase"), ("a-b", "a long passphrase"), ("lab", "long\npassphrase")],
)
def test_a_code_is_held_to_the_rules_of_the_command_line(parts: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Code(*parts)
    assert "passphrase" not in str(caught.value).replace("lab7-a long passphrase", "")


def test_the_parts_of_a_code_are_made_equal_as_typed_ones_are() -> None:
    assert Code(" lab ", " a long passphras\u0065\u0301 ") == Code.parse("lab-a long passphras\u00e9")
    made = Code.generate(lambda below: below // 3)
    assert Code(made.room.upper(), made.secret) == made
    with pytest.raises(CodeTypo):
        Code(made.room, f"{made.secret[:-1]}q")
