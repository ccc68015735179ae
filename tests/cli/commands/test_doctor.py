"""`p2p-copy doctor` as a command: its lines, its exit code, `--json`, and where its options come from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.contrib.programs import free_port, need, serving
from tests.support.certificates import Certificates
from tests.support.json_events import objects
from tests.support.processes import QUICK, Running, relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with relay() as (address, _):
        yield address


def verdicts(out: str) -> dict[str, tuple[str, str]]:
    """Return the verdict and the sentence of each check, of lines that go into a pipe."""
    lines = out.splitlines()
    assert all(line[:11].strip() in {"good", "warning", "wrong", "not tried"} for line in lines), out
    return {line[11:24].strip(): (line[:11].strip(), line[24:]) for line in lines}


def test_a_line_for_each_check_and_nothing_is_wrong(url: str, tmp_path: Path) -> None:
    code, out, errors = Running("doctor", "--server", url, "--out", str(tmp_path)).wait(QUICK)
    assert code == 0, out
    found = verdicts(out)
    assert {verdict for verdict, _ in found.values()} == {"good"}
    assert found["relay"][1].startswith(f"{url}, without TLS")
    assert found["disk"][1].startswith(str(tmp_path))
    assert {"program", "round trip", "speed there", "speed back", "state"} < {*found}
    assert "idle" not in found
    assert errors == "Nothing is wrong.\n"


def test_the_exit_code_is_that_of_the_first_thing_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, out, errors = Running("doctor", "--server", "ws://127.0.0.1:1", "--out", str(file)).wait(QUICK)
    found = verdicts(out)
    assert found["tcp"] == (
        "wrong",
        "127.0.0.1:1 refuses connections. Check host and port, and whether the relay runs.",
    )
    assert found["pairing"] == ("not tried", "since tcp is wrong")
    assert found["disk"][0] == "wrong"
    assert "choose another directory (--out)" in found["disk"][1]
    assert code == 4
    assert errors == "The first thing that is wrong: tcp (exit code 4).\n"


def test_several_relays_are_examined_one_after_the_other(url: str) -> None:
    dead = "ws://127.0.0.1:1"
    code, out, errors = Running("doctor", "--server", url, "--server", dead, "--json").wait(QUICK)
    assert (code, errors) == (4, "")
    checks = [each for each in objects(out) if each["event"] == "checked"]
    assert {each["relay"] for each in checks} == {None, url, dead}
    assert [each["relay"] for each in checks if each["verdict"] == "wrong"] == [dead]


def test_without_a_relay_this_machine_is_examined_all_the_same() -> None:
    code, out, errors = Running("doctor").wait(QUICK)
    found = verdicts(out)
    assert found["relay"][0] == "wrong"
    assert "Name it with --server" in found["relay"][1]
    assert found["disk"][0] == found["state"][0] == "good"
    assert code == 2
    assert "relay (exit code 2)" in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server", "ftp://x"), "A relay's address looks like"),
        (("--server", "ws://x?y"), "A relay's address looks like"),
        (("--proxy", "ftp://me:secret@x", "--server", "ws://x"), "a kind of proxy"),
        (("--server", "ws://x", "--token-file", "/nowhere"), "The token file '/nowhere'"),
        (("--server", "ws://x", "--pin", "00" * 32), "--pin has no effect here"),
        (("--server", "ws://x", "--idle", "soon"), "a time is written as"),
    ],
)
def test_a_wrong_option_is_an_error_as_of_every_command(words: tuple[str, ...], said: str) -> None:
    code, out, errors = Running("doctor", *words).wait(QUICK)
    assert (code, out) == (2, "")
    assert said in errors
    assert "secret" not in errors


def test_json_has_an_object_for_each_check_and_a_last_one(url: str) -> None:
    code, out, errors = Running("doctor", "--json", "--server", url, "--idle", "0.1").wait(QUICK)
    assert (code, errors) == (0, "")
    first, *checks, last = objects(out)
    assert (first["event"], first["command"]) == ("started", "doctor")
    assert {each["event"] for each in checks} == {"checked"}
    names = [each["check"] for each in checks]
    assert (
        names.index("welcome") < names.index("round_trip") < names.index("idle") < names.index("speed_back")
    )
    assert last == last | {"event": "diagnosis", "good": len(checks), "wrong": 0, "exit_code": 0}


def test_json_names_errors_as_the_documentation_does() -> None:
    code, out, errors = Running("doctor", "--json", "--server", "ws://127.0.0.1:1").wait(QUICK)
    assert (code, errors) == (4, "")
    *rest, last = objects(out)
    (wrong,) = [each for each in rest if each.get("verdict") == "wrong"]
    assert (wrong["check"], wrong["error"], wrong["exit_code"]) == ("tcp", "RelayUnreachable", 4)
    assert (last["wrong"], last["exit_code"]) == (1, 4)
    assert last["not_tried"] > 0


@pytest.mark.slow  # two programs
def test_options_come_from_where_those_of_receive_come_from(url: str, tmp_path: Path) -> None:
    config, out = tmp_path / "config.toml", tmp_path / "out"
    out.mkdir()
    config.write_text(
        f'server = "work"\nproxy = "http://127.0.0.1:1"\n[relay.work]\nurl = "{url}"\nlimit-rate = "1M"\n'
        f'[receive]\nout = "{out}"\non-conflict = "skip"\nyes = true\n'
    )
    code, said, _ = Running("doctor", P2P_COPY_CONFIG=str(config)).wait(QUICK)
    assert code == 0, said
    found = verdicts(said)
    assert found["relay"][1].startswith(url)
    assert found["proxy"] == ("good", "none"), "the loopback needs none"
    assert found["disk"][1].startswith(str(out))
    code, said, _ = Running(
        "doctor", "--server", "ws://relay.invalid", P2P_COPY_CONFIG=str(config), HTTP_PROXY="127.0.0.1:2"
    ).wait(QUICK)
    assert code == 28
    assert verdicts(said)["proxy"][1] == "http://127.0.0.1:2, from HTTP_PROXY in the environment"


@pytest.mark.slow  # two programs
@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
def test_a_state_directory_that_cannot_be_used(url: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    code, out, _ = Running("doctor", "--server", url, "--state-dir", str(state)).wait(QUICK)
    assert code == 2
    verdict, said = verdicts(out)["state"]
    assert verdict == "wrong"
    assert "Other users may write into" in said
    state.rmdir()
    state.touch()
    code, out, _ = Running("doctor", "--server", url, "--state-dir", str(state)).wait(QUICK)
    assert code == 2
    verdict, said = verdicts(out)["state"]
    assert verdict == "wrong"
    assert "Not a directory. Choose another --state-dir." in said


def test_a_full_disk(url: str, tmp_path: Path) -> None:
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        code, out, _ = Running("doctor", "--server", url, "--out", str(disk)).wait(QUICK)
        assert not os.listdir(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert code == 16
    assert "There is not enough space on the disk here." in verdicts(out)["disk"][1]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
def test_ctrl_c_ends_it_at_once(url: str) -> None:
    running = Running("doctor", "--server", url, "--idle", "1h")
    assert running.process.stdout is not None
    while not running.process.stdout.readline().startswith("good       round trip"):
        pass
    running.process.send_signal(signal.SIGINT)
    code, out, errors = running.wait(QUICK)
    assert code == 130
    assert (out, errors) == ("", "p2p-copy: Interrupted.\n")


# Real servers and proxies


def test_nginx_that_does_not_pass_upgrade_on(url: str, tmp_path: Path) -> None:
    nginx, port = need("nginx"), free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;\n"
        f"fastcgi_temp_path {tmp_path}/1; uwsgi_temp_path {tmp_path}/2; scgi_temp_path {tmp_path}/3;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{url.partition('//')[2]}; }} }} }}\n"
    )
    with serving([nginx, "-p", str(tmp_path), "-e", "stderr", "-c", str(config)], port, tmp_path / "log"):
        code, out, _ = Running("doctor", "--server", f"ws://127.0.0.1:{port}").wait(QUICK)
    assert code == 4
    verdict, said = verdicts(out)["upgrade"]
    assert verdict == "wrong"
    assert "a proxy in between does not pass it on" in said
    assert verdicts(out)["clock"][0] == "good"


@pytest.mark.slow  # two programs, and a proxy
def test_tinyproxy_with_a_filter_and_a_login(url: str, tmp_path: Path) -> None:
    program, port = need("tinyproxy"), free_port()
    rules, config = tmp_path / "filter", tmp_path / "tinyproxy.conf"
    rules.write_text("relay\\.example\n")
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth somebody secret\n"
        f'Filter "{rules}"\nFilterType ere\n'
    )
    with serving([program, "-d", "-c", str(config)], port, tmp_path / "log"):
        for login, server, expected, check in (
            ("somebody:secret@", url, 0, "tunnel"),
            ("somebody:wrong@", url, 29, "tunnel"),
            ("", url, 29, "tunnel"),
            ("somebody:secret@", "wss://relay.example", 30, "tunnel"),
        ):
            running = Running("doctor", "--server", server, "--proxy", f"http://{login}127.0.0.1:{port}")
            code, out, _ = running.wait(QUICK)
            assert code == expected, out
            assert verdicts(out)[check][0] == ("wrong" if expected else "good")
            assert "secret" not in out


@pytest.mark.slow  # two programs
def test_with_tls_the_issuer_is_named_and_certificates_come_from_the_variables(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with relay(*certificates.options) as (address, _):
        code, out, _ = Running("doctor", "--server", address, SSL_CERT_FILE="/nowhere").wait(QUICK)
        found = verdicts(out)
        assert code == 5
        assert "issued by 'trustme v" in found["tls"][1]
        assert found["authorities"][0] in {"good", "warning"}, "the directory counts beside the file"
        assert "SSL_CERT_FILE" in found["authorities"][1]
        code, out, _ = Running("doctor", "--server", address, SSL_CERT_FILE=certificates.authority).wait(
            QUICK
        )
        assert code == 0, out
        assert certificates.authority in verdicts(out)["authorities"][1]
        assert "nothing on the way decrypts TLS" in verdicts(out)["certificate"][1]
