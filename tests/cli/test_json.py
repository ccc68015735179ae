"""`--json` of real commands: all that they write to standard output is held against the schema."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli import processes
from tests.cli.pipes import fill
from tests.cli.processes import contents, finish, line_of, run, start
from tests.contrib.programs import free_port
from tests.support.json_events import checked, names, objects

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

CODE = "lab7-a long passphrase"
READER_GONE = 141


@pytest.fixture
def env(relay: str) -> dict[str, str]:
    return {"P2P_COPY_SERVER": relay, "P2P_COPY_CODE": CODE}


def both(
    sender: tuple[str, ...], receiver: tuple[str, ...], env: dict[str, str]
) -> tuple[tuple[int, list[dict[str, Any]], str], tuple[int, list[dict[str, Any]], str]]:
    """Run both sides with `--json`; return exit code, objects and standard error of each."""
    sending = start("send", *sender, "--json", env=env)
    received = run("receive", *receiver, "--json", env=env)
    sent = finish(sending)
    return (sent[0], objects(sent[1]), sent[2]), (received[0], objects(received[1]), received[2])


def next_named(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """Read objects until one with this name."""
    while line := line_of(process.stdout):
        made = checked(line)
        if made["event"] == name:
            return made
    raise AssertionError(f"it ended without {name}")


def test_a_transfer_by_a_generated_code(relay: str, tree: Path, tmp_path: Path) -> None:
    sending = start("send", str(tree), "--json", env={"P2P_COPY_SERVER": relay})
    first = checked(line_of(sending.stdout))
    assert (first["event"], first["version"], first["command"]) == ("started", 1, "send")
    program, *words = first["receiver_command"]
    assert program == "p2p-copy"
    out = tmp_path / "out"
    code, text, err = run(*words, "--json", "--out", str(out), env={"P2P_COPY_CODE": first["code"]})
    assert (code, err) == (0, "")
    received = objects(text)
    assert names(received) == ["started", "connecting", "waiting", "paired", "report"]
    assert (received[0]["code"], received[0]["receiver_command"]) == (None, None)
    code, text, err = finish(sending)
    assert (code, err) == (0, "")
    sent = [checked(line) for line in text.splitlines()]
    assert names(sent) == ["connecting", "waiting", "paired", "verifying", "report"]
    ours, theirs = ({**made[-1], "time": 0, "seconds": 0} for made in (sent, received))
    assert ours == theirs
    assert (ours["files"], ours["failed"], ours["failures"]) == (3, 0, [])
    assert contents(out) == contents(tree.parent)


def test_a_code_that_was_given_is_not_written(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    sent, _ = both((str(tree),), ("--out", str(tmp_path / "out")), env)
    assert sent[1][0]["code"] is None
    assert CODE not in json.dumps(sent[1])
    assert sent[1][0]["receiver_command"] == ["p2p-copy", "receive", "--server", env["P2P_COPY_SERVER"]]


def test_a_conflict(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "tree").mkdir(parents=True)
    (out / "tree" / "größe").write_text("mine")
    sent, received = both((str(tree),), ("--out", str(out)), env)
    for code, made, err in (sent, received):
        assert code == 3
        (problem,) = (one for one in made if one["event"] == "problem")
        failure = {"path": problem["path"], "reason": problem["reason"]}
        assert failure["path"] == "tree/größe"
        assert "--on-conflict" in failure["reason"]
        assert made[-1]["event"] == "report", "and no error: the report says it"
        assert (made[-1]["failed"], made[-1]["failures"]) == (1, [failure])
        assert err.count("\n") == 1, "the sentence is for people"
    assert (out / "tree" / "größe").read_text() == "mine"


@pytest.mark.slow  # four programs, two of them twice, and a pause before both sides come back
def test_a_lost_relay(tree: Path, tmp_path: Path) -> None:
    """A pipe, of which one half comes before the relay is killed, and the other after another one runs."""
    port = str(free_port())
    env = {"P2P_COPY_SERVER": f"ws://127.0.0.1:{port}", "P2P_COPY_CODE": CODE}
    relay = start("run-relay-server", "127.0.0.1", port, "--no-tls")
    assert "Relay listening" in line_of(relay.stdout)
    sending = start("send", "-", "--json", env=env)
    assert sending.stdin is not None
    sending.stdin.write("one half, ")
    sending.stdin.flush()
    receiving = start("receive", "--json", "--out", str(tmp_path / "out"), env=env)
    for side in (sending, receiving):
        next_named(side, "paired")
    relay.kill()
    relay.communicate()
    for side in (sending, receiving):
        lost = next_named(side, "reconnecting")
        assert lost["seconds"] > 0
    another = start("run-relay-server", "127.0.0.1", port, "--no-tls")
    try:
        for side in (sending, receiving):
            next_named(side, "paired")
        code, text, err = finish(sending, "and the other")
        assert (code, checked(text.splitlines()[-1])["event"], err) == (0, "report", "")
        code, text, err = finish(receiving)
        assert (code, checked(text.splitlines()[-1])["size"], err) == (0, len("one half, and the other"), "")
    finally:
        another.terminate()
        finish(another)
    assert (tmp_path / "out" / "stdin").read_text() == "one half, and the other"


@pytest.mark.slow  # a relay's rate makes it last, so that it can be stopped half-way
def test_a_transfer_that_is_stopped_and_resumed(tmp_path: Path) -> None:
    (top := tmp_path / "top").mkdir()
    for number in range(10):
        (top / str(number)).write_bytes(os.urandom(300_000))
    with processes.relay("--no-tls", "--rate", "1M") as url:
        env = {"P2P_COPY_SERVER": url, "P2P_COPY_CODE": CODE}
        sending = start("send", str(top), "--json", env=env)
        receiving = start("receive", "--json", "--out", str(tmp_path / "out"), env=env)
        id_ = next_named(receiving, "started")["id"]
        while not next_named(receiving, "progress")["files"]:
            pass
        receiving.send_signal(signal.SIGTERM)
        code, text, err = finish(receiving)
        last = checked(text.splitlines()[-1])
        assert code == 128 + signal.SIGTERM
        assert (last["event"], last["error"], last["side"]) == ("error", "Interrupted", "this")
        assert last["exit_code"] == code
        code, text, _ = run("resume", "--json", env=env)
        assert code == 0
        listed = {one["id"]: one for one in objects(text)[1:]}
        assert (listed[id_]["command"], listed[id_]["running"]) == ("receive", False)
        code, text, err = run("resume", id_, "--json")
        assert (code, err) == (0, "")
        resumed = objects(text)
        assert (resumed[0]["command"], resumed[0]["id"]) == ("receive", id_)
        (had,) = (one["size"] for one in resumed if one["event"] == "resumed")
        assert 0 < had < 3_000_000
        assert resumed[-1]["event"] == "report"
        code, text, err = finish(sending)
        assert (code, err) == (0, "")
        sent = [checked(line) for line in text.splitlines()]
        assert [name for name in names(sent) if name not in ("connecting", "notice")] == [
            *("started", "waiting", "paired", "reconnecting", "waiting", "paired", "resumed", "verifying"),
            "report",
        ]


def test_a_relay_that_refuses(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    with processes.relay("--no-tls", "--tokens-file", str(tmp_path / "tokens")) as url:
        env = {"P2P_COPY_SERVER": url, "P2P_COPY_CODE": CODE}
        code, text, err = run("send", str(tree), "--json", env=env)
    made = objects(text)
    assert names(made) == ["started", "connecting", "error"]
    assert (code, made[-1]["error"], made[-1]["exit_code"], made[-1]["side"]) == (
        9,
        "RelayRefused",
        9,
        "relay",
    )
    assert err == f"p2p-copy: {made[-1]['sentence']}\n"


def test_codes_that_differ(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    sending = start("send", str(tree), "--json", env=env)
    next_named(sending, "waiting")
    code, text, _ = run("receive", "--json", env=env | {"P2P_COPY_CODE": CODE + "x"})
    assert (code, objects(text)[-1]["error"], objects(text)[-1]["side"]) == (11, "WrongCode", "other")
    code, text, _ = finish(sending)
    assert (code, checked(text.splitlines()[-1])["error"]) == (11, "WrongCode")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("send", "--json", "--nonsense", "."), "UsageError"),
        (("send", ".", "--json", "--server", "ws://127.0.0.1:1", "--code", "short"), "UsageError"),
        (("receive", "--json", "--server", "ws://127.0.0.1:1"), "UsageError"),
        (("receive", "--json", "--out", "-", "--server", "ws://127.0.0.1:1", "--code", CODE), "UsageError"),
        (("send", ".", "--json", "--server", "ws://127.0.0.1:1", "--patience", "0"), "RelayUnreachable"),
        (("verify", "--json", "nothing", "."), "UsageError"),
        (("resume", "--json", "abc"), "UsageError"),
    ],
)
def test_an_error_is_the_last_object(words: tuple[str, ...], error: str) -> None:
    code, text, _ = run(*words)
    last = objects(text)[-1]
    assert (last["event"], last["error"], last["exit_code"]) == ("error", error, code)


def test_what_comes_behind_two_dashes_asks_for_nothing(tmp_path: Path) -> None:
    assert run("send", "--dry-run", "--", "--json", cwd=tmp_path)[:2] == (18, "")


def test_a_dry_run_on_both_sides(env: dict[str, str], tree: Path) -> None:
    code, text, err = run("send", str(tree), "--dry-run", "--json")
    assert (code, err) == (0, "")
    made = objects(text)
    entries = {one["path"]: one["kind"] for one in made if one["event"] == "entry"}
    assert (entries["tree"], entries["tree/größe"]) == ("directory", "file")
    assert (made[-1]["event"], made[-1]["files"], made[-1]["problems"]) == ("would_send", 3, 0)
    sending = start("send", str(tree), "--json", env=env)
    code, text, err = run("receive", "--dry-run", "--json", env=env)
    assert (code, err) == (0, "")
    preview = objects(text)[-1]
    assert (preview["event"], preview["files"], preview["top"][0]["name"]) == ("transfer_preview", 3, "tree")
    assert next_named(sending, "not_accepted")["seconds"] > 0
    sending.terminate()
    finish(sending)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have such names")
def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "a\x1b[2J").touch()
    (top / os.fsdecode(b"\xff")).touch()
    made = objects(run("send", str(top), "--dry-run", "--json")[1])
    paths = {one["path"] for one in made if one["event"] in ("entry", "problem")}
    assert {"top/a\\x1b[2J", "top/\\xff"} <= paths


def test_verify(env: dict[str, str], tree: Path, tmp_path: Path) -> None:
    out, receipt = tmp_path / "out", tmp_path / "receipt"
    both((str(tree),), ("--out", str(out), "--receipt", str(receipt)), env)
    code, text, err = run("verify", str(receipt), str(out), "--json")
    assert (code, err) == (0, "")
    assert names(objects(text)) == ["started", "verdict"]
    (out / "tree" / "größe").write_text("other")
    code, text, err = run("verify", str(receipt), str(out), "--json")
    made = objects(text)
    assert (code, names(made)) == (21, ["started", "difference", "verdict"])
    assert (made[1]["path"], made[-1]["differences"]) == ("tree/größe", 1)


def test_a_configuration_file_cannot_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[send]\njson = true\n")
    code, text, err = run("send", ".", "--config", str(tmp_path / "config"))
    assert (code, text) == (2, "")
    assert "unknown key: json" in err


# --- Readers ---


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are filled in the ways of Unix")
def test_a_slow_reader_does_not_keep_the_other_side_waiting(
    env: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    """The receiver's pipe is full before it begins. The sender ends all the same, and then all objects are there."""
    reader, writer = os.pipe()
    fill(writer)
    receiving = start("receive", "--out", str(tmp_path / "out"), "--json", env=env, stdout=writer)
    os.close(writer)
    code, _, err = run("send", str(tree), "--json", env=env)
    assert (code, err) == (0, "")
    assert receiving.poll() is None, "its result waits for the reader"
    with os.fdopen(reader, encoding="utf-8") as stream:
        text = stream.read()
    assert finish(receiving)[0] == 0
    assert names(objects(text[text.index("{") :]))[-1] == "report"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are filled in the ways of Unix")
def test_a_signal_ends_a_command_whose_reader_reads_nothing(env: dict[str, str]) -> None:
    reader, writer = os.pipe()
    fill(writer)
    receiving = start("receive", "--json", env=env, stdout=writer)
    os.close(writer)
    sending = start("send", "-", "--json", env=env)
    next_named(sending, "paired")
    receiving.send_signal(signal.SIGTERM)
    assert finish(receiving)[0] == 128 + signal.SIGTERM
    os.close(reader)
    sending.kill()
    sending.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_a_sender_whose_reader_goes_before_it_has_the_code(relay: str, tree: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sending = start("send", str(tree), "--json", env={"P2P_COPY_SERVER": relay}, stdout=writer)
    os.close(writer)
    assert finish(sending)[0] == READER_GONE


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_a_transfer_whose_reader_goes_later_is_completed(
    env: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    receiving = start("receive", "--json", "--out", str(tmp_path / "out"), env=env)
    next_named(receiving, "waiting")
    assert receiving.stdout is not None
    receiving.stdout.close()
    code, _, _ = run("send", str(tree), "--json", env=env)
    assert code == 0
    receiving.stdout = None
    assert receiving.wait(processes.ENOUGH) == READER_GONE, "the report was not read"
    receiving.communicate()
    assert contents(tmp_path / "out") == contents(tree.parent)


def test_without_progress_there_are_no_progress_objects(env: dict[str, str], tmp_path: Path) -> None:
    """The limit of the rate makes it last for more than the time between two of them."""
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    sent, received = both(
        (str(tmp_path / "file"), "--limit-rate", "128K"),
        ("--out", str(tmp_path / "out"), "--no-progress"),
        env,
    )
    assert [code for code, _, _ in (sent, received)] == [0, 0]
    assert "progress" in [one["event"] for one in sent[1]]
    assert "progress" not in [one["event"] for one in received[1]]
