"""contrib/systemd: read by systemd's own tools, and sealed off as far as it promises."""

from __future__ import annotations

import re
import shutil
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from tests.contrib.programs import CONTRIB, check, need, replaced
from tests.support.processes import Running

if TYPE_CHECKING:
    from pathlib import Path

SYSTEMD = CONTRIB / "systemd"
CLEAN = ("run-relay-server.service", "run-relay-server@.service")
ACME = "acme/run-relay-server.service"
EVERY = (*CLEAN, ACME, "easy/run-relay-server.service")

WORST_EXPOSURE = 20
"""`systemd-analyze security` gives marks from 0 to 100 (it prints 0.0 to 10.0); up to 20 it says OK."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as on a machine where the program is installed: systemd wants to see it."""
    folder = tmp_path / "units"
    shutil.copytree(SYSTEMD, folder)
    for name in EVERY:
        text = replaced((folder / name).read_text(), {"/opt/p2p-copy/bin/p2p-copy": "/bin/true"})
        (folder / name).write_text(text)
    shutil.copy(folder / "run-relay-server.socket", folder / "acme")  # the one socket is for both
    return folder


@pytest.mark.parametrize("name", [*EVERY, "run-relay-server.socket", "run-relay-server@8765.service"])
def test_systemd_has_nothing_to_say_about_a_unit(units: Path, name: str) -> None:
    assert check(need("systemd-analyze"), "verify", "--man=no", units / name).strip() == ""


@pytest.mark.parametrize("name", [*CLEAN, ACME])
def test_a_clean_unit_is_exposed_no_more_than_promised(units: Path, name: str) -> None:
    analyze = need("systemd-analyze")
    if "--offline" not in check(analyze, "--help"):
        pytest.skip("systemd-analyze is too old for --offline")
    check(analyze, "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", "--no-pager", units / name)


@pytest.mark.parametrize("name", EVERY)
def test_reload_restart_and_watchdog_are_as_operators_rely_on(name: str) -> None:
    lines = (SYSTEMD / name).read_text().splitlines()
    assert {"Type=notify", "ExecReload=/bin/kill -HUP $MAINPID", "Restart=always"} <= set(lines)
    assert any(line.startswith("WatchdogSec=") for line in lines)


@pytest.mark.parametrize("name", EVERY)
def test_systemd_waits_longer_than_the_relay_drains(name: str) -> None:
    text = (SYSTEMD / name).read_text()
    drain, stop = re.search(r"--drain (\d+)", text), re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert drain is not None
    assert stop is not None
    assert int(stop[1]) >= int(drain[1]) + 20


def test_the_relays_behind_a_proxy_are_sealed_off_like_the_one_in_front() -> None:
    alone, behind = (_settings(SYSTEMD / name) for name in CLEAN)
    different = alone ^ behind
    assert {setting.partition("=")[0] for setting in different} == {
        "Description",
        "Requires",
        "After",
        "Wants",
        "ExecStart",
        "Also",
        "IPAddressDeny",
        "IPAddressAllow",
    }


def test_a_relay_that_gets_its_certificate_is_sealed_off_like_one_that_is_given_it() -> None:
    given, gets = _settings(SYSTEMD / CLEAN[0]), _settings(SYSTEMD / ACME)
    different = {setting.partition("=")[0] for setting in given ^ gets}
    assert different == {"ExecStart", "StateDirectory", "StateDirectoryMode", "RestrictAddressFamilies"}


def test_no_unit_but_the_easy_one_runs_as_root() -> None:
    for name in (*CLEAN, ACME):
        assert {"User=p2p-copy", "CapabilityBoundingSet=", "AmbientCapabilities="} <= _settings(
            SYSTEMD / name
        )


def test_sysusers_makes_the_user_that_the_units_name(tmp_path: Path) -> None:
    said = check(need("systemd-sysusers"), f"--root={tmp_path}", "--dry-run", SYSTEMD / "sysusers.conf")
    assert re.search(r"user 'p2p-copy'", said)


def _settings(unit: Path) -> set[str]:
    return {line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")}


@pytest.mark.parametrize("name", EVERY)
def test_the_relay_of_a_unit_finds_its_options_in_etc(name: str, tmp_path: Path) -> None:
    (variable,) = re.findall(r"^Environment=(\w+)=/etc$", (SYSTEMD / name).read_text(), re.MULTILINE)
    config = tmp_path / "p2p-copy" / "config.toml"
    config.parent.mkdir()
    config.write_text('[run-relay-server]\nadmin = "127.0.0.1:0"\n')
    words = ("run-relay-server", "127.0.0.1", "0", "--no-tls")
    running = Running(*words, **{variable: str(tmp_path), "P2P_COPY_CONFIG": ""})
    try:
        assert running.process.stdout is not None
        assert any("admin address: " in line for line in islice(running.process.stdout, 2))
    finally:
        running.kill()
