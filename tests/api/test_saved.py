"""What a program can do with transfers that are saved: list, resume and forget them, or save them for later."""

from __future__ import annotations

import os
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

import p2p_copy as p2p
from p2p_copy import testing
from p2p_copy.transport.certificate import pin_of, pin_text
from tests.api.support import BACKENDS, nothing_stays, run
from tests.support.certificates import Certificates
from tests.support.trees import leftovers

if TYPE_CHECKING:
    import threading
    from pathlib import Path

both_backends = pytest.mark.parametrize("backend", BACKENDS)


async def stop_half_way(receiving: p2p.Transfer) -> None:
    """Return when something has arrived, but not all."""
    async for event in receiving.events():
        if isinstance(event, p2p.Progress) and event.files:
            return


@both_backends
def test_a_transfer_is_listed_and_resumed_by_its_id(
    relay: str, tree: Path, large: Path, tmp_path: Path, code: p2p.Code, backend: str, gate: threading.Event
) -> None:
    out = tmp_path / "out"
    resumed: list[p2p.Event] = []

    async def main() -> None:
        sender = p2p.AsyncClient(relay, state_dir=tmp_path / "sender")
        async with sender, sender.open_send((tree, large), code=code) as sending:
            async with p2p.AsyncClient(relay, state_dir=tmp_path / "receiver") as receiver:
                async with receiver.open_receive(out, code=code, on_conflict="rename") as first:
                    await stop_half_way(first)
                assert await receiver.saved(code=p2p.Code.generate()) == ()
                (saved,) = await receiver.saved(code=code)
                assert (saved.side, saved.relays, saved.paths) == ("receiver", (relay,), (str(out),))
                assert saved.met
                assert saved.can_resume
                assert not saved.running
                assert saved.code is None
                assert isinstance(saved.options, p2p.ReceiveOptions)
                assert saved.options.conflict is p2p.Conflict.RENAME
            async with p2p.AsyncClient(state_dir=tmp_path / "receiver") as later:
                async with later.open_resume(saved.id) as second:
                    events = second.events()
                    resumed.append(await anext(events))
                    assert [each.running for each in await later.saved()] == [True]
                    with pytest.raises(p2p.UsageError, match="running in another process"):
                        await later.resume(saved.id)
                    with pytest.raises(p2p.UsageError, match="running in another process"):
                        await later.forget(saved.id)
                    gate.set()
                    resumed.extend([event async for event in events])
                assert await later.saved() == ()
            assert (await sending.wait()).files == 9
        assert await sender.saved() == ()

    with nothing_stays():
        run(backend, main)
    assert p2p.Resumed in {type(event) for event in resumed}


def test_so_it_is_in_a_plain_program(relay: str, tree: Path, tmp_path: Path) -> None:
    """A transfer that is saved may begin later, and its code is then the one that was saved."""
    sender = p2p.Client(relay, state_dir=tmp_path / "sender")
    other = sender.save_send(tree, exclude="[4-7]", words=9)
    assert other.code is not None
    assert other.code.words == 9
    saved = sender.save_send(tree, exclude="[4-7]", words=5)
    assert saved.id == other.id
    assert saved == sender.save_send(tree, exclude="[4-7]"), "the same request has the same code"
    assert saved.code is not None
    assert saved.code.words == 5
    assert str(saved.code) not in repr(saved)
    assert (saved.can_resume, saved.met, saved.paths) == (True, False, (str(tree),))
    receiver = p2p.Client(relay, state_dir=tmp_path / "receiver")
    receiving = receiver.save_receive(tmp_path / "out", code=saved.code)
    assert (receiving.can_resume, receiving.code) == (False, None)
    with nothing_stays(), ThreadPoolExecutor(1) as pool:
        received = pool.submit(receiver.resume, receiving.id, code=saved.code, accept=lambda offer: True)
        report = p2p.Client(state_dir=tmp_path / "sender").resume(saved.id, wait=20, links=1)
        assert received.result().root == report.root
    assert report.files == 4
    assert sender.saved() == receiver.saved() == ()


def test_the_same_request_with_other_options_has_those(tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    first = p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path / "states").save_receive(tree, code=code)
    other = p2p.Client("ws://127.0.0.1:10", state_dir=tmp_path / "states")
    (saved,) = (other.save_receive(tree, code=code, names="system"),)
    assert saved.id == first.id
    assert saved.relays == ("ws://127.0.0.1:10",)
    assert isinstance(saved.options, p2p.ReceiveOptions)
    assert saved.options.names is p2p.Names.SYSTEM
    assert other.saved() == (saved,)


@both_backends
def test_what_is_forgotten_leaves_nothing_behind(
    relay: str, tree: Path, large: Path, tmp_path: Path, code: p2p.Code, backend: str, gate: threading.Event
) -> None:
    out, receipt = tmp_path / "out", tmp_path / "receipt"

    async def main() -> None:
        async with p2p.AsyncClient(relay, state_dir=tmp_path / "states") as client:
            async with client.open_send((tree, large), code=code):
                async with client.open_receive(out, code=code, receipt=receipt) as receiving:
                    await stop_half_way(receiving)
                (saved,) = [each for each in await client.saved() if each.side == "receiver"]
                await client.forget(saved.id)
                with pytest.raises(p2p.UsageError, match="no saved transfer"):
                    await client.forget(saved.id)
                gate.set()
            (sending,) = await client.saved()
            await client.forget(sending.id)
            assert await client.saved() == ()

    with nothing_stays():
        run(backend, main)
    assert os.path.exists(out)
    assert not leftovers(tmp_path)


def test_what_cannot_be_read_can_be_forgotten(tmp_path: Path) -> None:
    (tmp_path / f"{'1' * 32}.json").write_text('{"began": "yesterday"}')
    client = p2p.Client(state_dir=tmp_path)
    (saved,) = client.saved()
    assert (saved.id, saved.side, saved.can_resume) == ("1" * 32, None, False)
    client.forget(saved.id)
    assert client.saved() == ()


def test_a_code_is_needed_if_what_is_saved_is_not_enough(tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    client = p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path / "states")
    saved = client.save_send(tree, code=code)
    with nothing_stays(), pytest.raises(p2p.UsageError, match="its code is not saved"):
        client.resume(saved.id)
    with nothing_stays(), pytest.raises(p2p.UsageError, match="another code"):
        client.resume(saved.id, code=p2p.Code.generate())
    with nothing_stays(), pytest.raises(p2p.RelayUnreachable):
        client.resume(saved.id, code=code, wait=1, patience=0)


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_words_that_were_to_be_compared_are_compared_when_it_is_resumed(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, side: str
) -> None:
    client = p2p.Client(relay, state_dir=tmp_path / "states")
    out, seen = tmp_path / "out", list[tuple[str, str]]()

    def is_same(words: tuple[str, str]) -> bool:
        seen.append(words)
        return True

    def run_other() -> p2p.Report:
        other = p2p.Client(relay)
        if side == "sender":
            return other.receive(out, code=code, wait=20)
        return other.send(tree, code=code, wait=20)

    if side == "sender":
        saved = client.save_send(tree, code=code, verify=True)
    else:
        saved = client.save_receive(out, code=code, verify=True)
    assert saved.verify
    later = p2p.Client(state_dir=tmp_path / "states")
    with nothing_stays(), pytest.raises(p2p.UsageError, match="begun with `verify`"):
        later.resume(saved.id, code=code)
    assert later.saved() == (saved,)
    with nothing_stays(), ThreadPoolExecutor(1) as pool:
        other = pool.submit(run_other)
        assert later.resume(saved.id, code=code, verify=is_same).root == other.result().root
    assert len(seen) == 1


def test_a_call_that_compares_words_is_saved_as_one(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code
) -> None:
    client = p2p.Client(relay, state_dir=tmp_path / "states")
    saved = client.save_send(tree, code=code)
    assert not saved.verify
    answers: list[bool] = []

    def look(event: p2p.Event) -> None:
        answers.extend(each.verify for each in client.saved())
        raise LookupError

    with nothing_stays(), pytest.raises(LookupError):
        client.send(tree, code=code, verify=lambda words: True, on_event=look, wait=20)
    assert answers == [True]


def test_the_pin_of_a_relay_is_saved(tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    """It is not trusted by any authority that this machine knows."""
    issued = Certificates(tmp_path)
    with open(issued.certificate, encoding="ascii") as file:
        pin = pin_text(pin_of(ssl.PEM_cert_to_DER_cert(file.read())))
    place = tmp_path / "states"
    with testing.relay(certfile=issued.certificate, keyfile=issued.key) as url, nothing_stays():
        saved = p2p.Client(url, pin=pin, state_dir=place).save_send(tree, code=code)
        with ThreadPoolExecutor(1) as pool:
            receiver = p2p.Client(url, pin=pin)
            received = pool.submit(receiver.receive, tmp_path / "out", code=code, wait=20)
            assert p2p.Client(state_dir=place).resume(saved.id, code=code).root == received.result().root
        saved = p2p.Client(url, pin=pin, state_dir=place).save_send(tree, code=code)
        with pytest.raises(p2p.CertificateNotTrusted, match="not the one that `pin` names"):
            p2p.Client(pin="ab" * 32, state_dir=place).resume(saved.id, code=code, wait=1, patience=0)


def test_a_pin_is_refused_if_there_is_no_key_to_compare(tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    with pytest.raises(p2p.UsageError, match="`pin` has no effect"):
        p2p.AsyncClient("ws://127.0.0.1:9", pin="ab" * 32)
    with pytest.raises(p2p.UsageError, match="SHA-256"):
        p2p.Client(pin="ab")
    saved = p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path / "states").save_send(tree, code=code)
    with nothing_stays(), pytest.raises(p2p.UsageError, match="`pin` has no effect"):
        p2p.Client(pin="ab" * 32, state_dir=tmp_path / "states").resume(saved.id, code=code)


def test_what_a_client_cannot_do_is_said_at_once(tree: Path, tmp_path: Path, code: p2p.Code) -> None:
    with pytest.raises(p2p.UsageError, match="without a `state_dir`"):
        p2p.Client("ws://127.0.0.1:9").saved()
    with pytest.raises(p2p.UsageError, match="without a `relay`"):
        p2p.Client(state_dir=tmp_path).send(tree, code=code)
    with pytest.raises(p2p.UsageError, match="address"):
        p2p.Client("relay.example")
    with pytest.raises(p2p.UsageError, match="no saved transfer"):
        p2p.Client(state_dir=tmp_path).resume("0" * 32)
    with pytest.raises(TypeError):
        p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path).save_receive(tree, code="lab7-a long passphrase")  # type: ignore[arg-type]
    with pytest.raises(p2p.UsageError, match="pattern"):
        p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path).save_send(tree, only="[")
    assert os.listdir(tmp_path) == [tree.name]


def test_what_cannot_be_saved_is_said(tree: Path, tmp_path: Path) -> None:
    many = ["x" * 200 + str(number) for number in range(6000)]
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file" / "below", ""):
        with pytest.raises(p2p.NotSaved, match="cannot be saved"):
            p2p.Client("ws://127.0.0.1:9", state_dir=directory).save_send(tree)
    with pytest.raises(p2p.NotSaved, match="too many paths"):
        p2p.Client("ws://127.0.0.1:9", state_dir=tmp_path / "states").save_send(many)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says no such thing in modes")
@both_backends
def test_a_directory_that_others_may_list_is_told_of(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code, backend: str
) -> None:
    states = tmp_path / "states"
    states.mkdir()
    states.chmod(0o755)
    notices: list[p2p.Event] = []

    async def main() -> None:
        async with p2p.AsyncClient(relay, state_dir=states) as client, anyio.create_task_group() as group:
            group.start_soon(partial(client.receive, tmp_path / "out", code=code))
            async with client.open_send(tree, code=code) as sending:
                notices.extend([each async for each in sending.events() if isinstance(each, p2p.Notice)])

    run(backend, main)
    assert [isinstance(each, p2p.Notice) and "may list" in each.sentence for each in notices] == [True]


def test_where_the_command_line_saves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("P2P_COPY_STATE_DIR", str(tmp_path))
    assert p2p.default_state_dir() == str(tmp_path)
    monkeypatch.delenv("P2P_COPY_STATE_DIR")
    monkeypatch.setenv("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME", str(tmp_path))
    assert p2p.default_state_dir() == str(tmp_path / "p2p-copy")
