"""The log of a relay process: complete at any moment, and with levels for the journal."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from p2p_copy.cli.options.relay_log import is_journal
from tests.cli.processes import finish, line_of, run, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HERE = ("run-relay-server", "127.0.0.1", "0", "--no-tls")


TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[-+][0-9]{2}:[0-9]{2}"


def wait_for(read: Callable[[], str]) -> str:
    """Return the next line of a file that another process is writing."""
    while not (line := read()):
        time.sleep(0.01)
    return line


def test_only_the_journals_own_stream_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": "8:1"})


def test_every_line_is_json_if_that_is_wanted() -> None:
    relay = start(*HERE, "--log-format", "json")
    listening = json.loads(line_of(relay.stdout))
    assert listening["event"] == "listening"
    assert listening["urls"].startswith("ws://127.0.0.1:")
    relay.terminate()
    code, out, err = finish(relay)
    assert (code, err) == (0, "")
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["stopped"]


def test_text_is_the_start_line_and_the_end() -> None:
    relay = start(*HERE)
    assert re.match(rf"{TIME} info Relay listening on ws://127\.0\.0\.1:", line_of(relay.stdout))
    relay.terminate()
    code, out, err = finish(relay)
    assert (code, err) == (0, "")
    (stopped,) = out.splitlines()
    assert " stopped: pairs served: 0, 0 B copied, up for " in stopped


def test_a_quiet_relay_says_only_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    with (tmp_path / "log").open("w") as log:
        admin = f"unix:{tmp_path}/admin"
        relay = start(*HERE, "-q", "--admin", admin, "--tokens-file", str(tmp_path / "tokens"), stdout=log)
    while not (tmp_path / "admin").exists():
        time.sleep(0.01)
    (tmp_path / "tokens").write_text("none of this is a token")
    assert run("relay-admin", admin, "reload")[0] == 9
    relay.terminate()
    relay.communicate()
    assert relay.returncode == 0
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert re.match(rf"{TIME} error tokens not reloaded, the old ones stay: ", line)


def test_a_quiet_relay_has_no_other_level() -> None:
    code, out, err = run(*HERE, "--quiet", "--log-level", "debug")
    assert (code, out) == (2, "")
    assert "--quiet logs only errors, and --log-level debug more" in err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_file_that_is_written_to_is_complete_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    with (tmp_path / "log").open("w") as log:
        tokens = ("--tokens-file", str(tmp_path / "tokens"))
        relay = start(*HERE, *tokens, stdout=log)
    lines = (tmp_path / "log").open()
    with lines:
        wait_for(lines.readline)
        relay.send_signal(signal.SIGHUP)
        assert wait_for(lines.readline).endswith(" tokens reloaded: 0\n")
    relay.kill()
    relay.communicate()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_whole_transfer_leaves_no_code_token_or_name_in_the_log(tmp_path: Path, log_format: str) -> None:
    name, secret, holder = "canary-name", "canary-secret", "canary-holder"
    (tmp_path / name).write_text("contents")
    code, out, _ = run("relay-token", holder)
    token, line = (word.partition(": ")[2] for word in out.splitlines())
    (tmp_path / "tokens").write_text(line + "\n")
    options = ("--log-level", "debug", "--log-format", log_format, "--tokens-file", str(tmp_path / "tokens"))
    with (tmp_path / "log").open("w") as log, (tmp_path / "log").open() as lines:
        relay = start(*HERE, *options, stdout=log)
        match = re.search(r"ws://127\.0\.0\.1:[0-9]+", wait_for(lines.readline))
        assert match
        env = {"P2P_COPY_SERVER": match[0], "P2P_COPY_CODE": f"canary-room-{secret}", "P2P_COPY_TOKEN": token}
        sender = start("send", str(tmp_path / name), env=env)
        received, _, _ = run("receive", "--out", str(tmp_path / "out"), env=env)
        refused, _, _ = run("receive", env=env | {"P2P_COPY_TOKEN": "canary-token"})
        sent, _, _ = finish(sender)
        assert (code, sent, received, refused) == (0, 0, 0, 9)
        relay.terminate()
        relay.communicate()
    text = (tmp_path / "log").read_text()
    assert "pairing 1 ended: complete" in text
    assert "refused: token" in text
    for kept in ("canary", secret, holder, name, token, "127.0.0.1"):
        assert kept not in text.replace(match[0], "")
