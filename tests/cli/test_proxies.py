"""`--proxy`, the environment and the configuration file in whole commands. Only the proxy knows the relay's name."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.processes import QUICK, Running, receiver, relay, sender
from tests.support.proxies import Tunnel, proxy_in_thread
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from p2p_copy.transport.proxy_address import ProxyAddress

NAME = "relay.invalid"
"""No machine resolves it: the proxy must."""

USER, PASSWORD = "somebody", "secret%40password"


class World:
    """A relay behind a proxy, with a certificate for `NAME`."""

    def __init__(self, tunnel: Tunnel, proxy: ProxyAddress, url: str, ca_file: str) -> None:
        self.tunnel = tunnel
        self.proxy = proxy
        self.url = url
        self.with_password = f"http://{USER}:{PASSWORD}@{proxy.where}"
        self.options: tuple[str, ...] = ("--ca-file", ca_file)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    certificate, key, ca_file = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca_file))
    tunnel = Tunnel(hosts={NAME: "127.0.0.1"})
    with (
        relay("--certfile", str(certificate), "--keyfile", str(key)) as (address, _),
        proxy_in_thread(tunnel) as proxy,
    ):
        yield World(tunnel, proxy, f"wss://{NAME}:{address.rpartition(':')[2]}", str(ca_file))


def config(folder: Path, text: str) -> str:
    file = folder / "config.toml"
    file.write_text(text)
    return str(file)


def nothing_of(secret: str, *places: Path | str) -> None:
    """Check that a password is in no output and no file."""
    for place in places:
        if isinstance(place, str):
            assert secret not in place
            continue
        for path in place.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@pytest.mark.slow  # three programs, and one more certificate
def test_the_environment_and_the_configuration_lead_through_the_proxy_and_no_password_stays(
    world: World, tmp_path: Path
) -> None:
    tree, out, state = make_tree(tmp_path), tmp_path / "out", tmp_path / "state"
    file = config(tmp_path, f'proxy = "{world.with_password}"')
    variables = {"P2P_COPY_STATE_DIR": str(state), "P2P_COPY_DEBUG": "1"}
    before = len(world.tunnel.requests)
    one = sender(world.url, tree, options=world.options, HTTPS_PROXY=world.with_password, **variables)
    other = receiver(world.url, out, options=world.options, P2P_COPY_CONFIG=file, **variables)
    ends = one.wait(), other.wait()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert snapshot(out / tree.name) == snapshot(tree)
    requests = world.tunnel.requests[before:]
    assert len(requests) == 2
    assert all(b"Proxy-Authorization" in request for request in requests)
    assert all(f"Connecting to {world.url} through {world.proxy}." in errors for _, _, errors in ends)
    for secret in (PASSWORD, "secret@password"):
        nothing_of(secret, state, *(text for end in ends for text in end[1:]))


@pytest.mark.slow  # four programs
def test_what_was_begun_through_one_proxy_is_resumed_through_another(world: World, tmp_path: Path) -> None:
    source, out, state = tmp_path / "large", tmp_path / "out", tmp_path / "state"
    source.write_bytes(os.urandom(1_000_000) * 60)
    variables = {"P2P_COPY_STATE_DIR": str(state)}
    one = sender(world.url, source, options=world.options, all_proxy=world.with_password, **variables)
    first = receiver(world.url, out, options=(*world.options, "--proxy", world.with_password), **variables)
    before = world.tunnel.passed
    deadline = time.monotonic() + QUICK
    while world.tunnel.passed < before + 20_000_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    listed = Running("resume", **variables)
    code, lines, errors = listed.wait()
    assert code == 0
    (line,) = [line for line in lines.splitlines() if "receive" in line]
    nothing_of("secret", state, lines, errors)
    another = Tunnel(hosts={NAME: "127.0.0.1"})
    with proxy_in_thread(another) as proxy:
        again = Running("resume", line.split()[0], *world.options, HTTPS_PROXY=str(proxy), **variables)
        assert (again.wait()[0], one.wait()[0]) == (0, 0)
    assert (out / "large").read_bytes() == source.read_bytes()
    assert another.requests
    assert b"Authorization" not in another.requests[0]


@pytest.mark.parametrize("way", ["option", "NO_PROXY", "configuration"])
def test_without_the_proxy_the_name_is_not_known(world: World, way: str, tmp_path: Path) -> None:
    options: tuple[str, ...] = world.options
    variables = {"HTTPS_PROXY": world.with_password}
    if way == "option":
        options = (*options, "--proxy", "none")
    elif way == "NO_PROXY":
        variables["NO_PROXY"] = "other,.invalid"
    else:
        variables = {"P2P_COPY_CONFIG": config(tmp_path, 'proxy = "none"')}
    code, _, errors = sender(world.url, tmp_path, options=options, **variables).wait(QUICK)
    assert code == 4
    assert f"The name {NAME} cannot be resolved" in errors


@pytest.mark.parametrize(
    ("option", "variables", "said"),
    [
        (
            "",
            {"HTTPS_PROXY": "http://127.0.0.1:1"},
            "http://127.0.0.1:1 refuses connections. Check HTTPS_PROXY in the",
        ),
        ("", {"all_proxy": "127.0.0.1:1"}, "http://127.0.0.1:1 refuses connections. Check all_proxy in the"),
        ("socks5://127.0.0.1:1", {"HTTPS_PROXY": "http://127.0.0.1:2"}, "socks5://127.0.0.1:1 refuses"),
    ],
)
def test_a_proxy_that_is_not_there_is_named_with_its_source(
    world: World, option: str, variables: dict[str, str], said: str, tmp_path: Path
) -> None:
    options = (*world.options, "--proxy", option) if option else world.options
    file = config(tmp_path, 'proxy = "http://127.0.0.1:3"')
    code, _, errors = sender(world.url, tmp_path, options=options, P2P_COPY_CONFIG=file, **variables).wait(
        QUICK
    )
    assert code == 28
    assert said in errors


@pytest.mark.slow  # two programs
def test_a_wrong_address_is_told_before_anything_is_saved_or_asked(world: World, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for variables in ({"HTTPS_PROXY": "ftp://user:secret@x"}, {"HTTPS_PROXY": "http://user:secret/1@x"}):
        running = sender(world.url, tmp_path, options=(), P2P_COPY_STATE_DIR=str(state), **variables)
        code, _, errors = running.wait(QUICK)
        assert code == 2
        assert "HTTPS_PROXY in the environment" in errors
        assert "secret" not in errors
    assert not state.exists()


@pytest.mark.slow  # seven programs
def test_a_pin_takes_the_place_of_an_authority_also_through_a_proxy(world: World, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("small")
    through = ("--proxy", world.with_password)
    code, _, errors = sender(world.url, source, options=through).wait(QUICK)
    assert code == 5
    assert re.search(r"issued by 'trustme v\S+', an authority that is not known here", errors)
    code, _, errors = sender(world.url, source, options=(*through, "--pin", "00" * 32)).wait(QUICK)
    assert code == 5
    found = re.search(r"not the one that --pin names but (sha256//\S{44})\.", errors)
    assert found
    pinned = (*through, "--pin", found[1])
    one, other = (
        sender(world.url, source, options=pinned),
        receiver(world.url, tmp_path / "out", options=pinned),
    )
    assert (one.wait()[0], other.wait()[0]) == (0, 0)
    code, _, errors = sender("ws://127.0.0.1:1", source, options=("--pin", "00" * 32)).wait(QUICK)
    assert code == 2
    assert "--pin has no effect here" in errors


@pytest.mark.slow  # seven programs
def test_the_loopback_and_an_own_relay_need_no_proxy_unless_it_is_named(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("small")
    away = {"HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
    away["P2P_COPY_CONFIG"] = config(tmp_path, 'proxy = "http://127.0.0.1:1"')
    with relay() as (url, _):
        one, other = (
            sender(url, source, options=(), **away),
            receiver(url, tmp_path / "out", options=(), **away),
        )
        assert (one.wait()[0], other.wait()[0]) == (0, 0)
        code, _, errors = sender(url, source, options=("--proxy", "http://127.0.0.1:1"), **away).wait(QUICK)
    assert code == 28
    assert "Check --proxy" in errors
    serving = Running(
        "send", str(source), "--serve", "127.0.0.1:0", P2P_COPY_CODE="lab7-a long passphrase", **away
    )
    assert serving.process.stdout is not None
    url = serving.process.stdout.readline().split()[-1]
    assert receiver(url, tmp_path / "out 2", options=(), **away).wait()[0] == 0
    assert serving.wait()[0] == 0
    code, _, errors = Running("send", str(source), "--serve", "--proxy", "none").wait(QUICK)
    assert code == 2
    assert "--proxy has no effect here" in errors


def test_a_password_in_the_arguments_is_advised_against(world: World, tmp_path: Path) -> None:
    options = (*world.options, "--proxy", "http://somebody:secret@127.0.0.1:1")
    code, _, errors = sender(world.url, tmp_path, options=options).wait(QUICK)
    assert code == 28
    assert "other users of this machine can read it" in errors
    assert "secret" not in errors
