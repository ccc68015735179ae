"""contrib/certbot: the hook as certbot runs it, in a directory of its own, with a systemctl that takes notes."""

from __future__ import annotations

import grp
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.contrib.programs import CONTRIB, check, need

if TYPE_CHECKING:
    from pathlib import Path

HOOK = CONTRIB / "certbot" / "deploy-hook.sh"
GROUP = grp.getgrgid(os.getgid()).gr_name if os.name == "posix" else ""

IS_ACTIVE = "is-active --quiet run-relay-server.service"
RELOAD = "reload run-relay-server.service"


class Machine:
    """What the hook sees of a machine: certbot's directory, the relay's, and systemctl."""

    def __init__(self, root: Path) -> None:
        self.lineage = root / "letsencrypt" / "live" / "relay.example"
        self.tls = root / "etc" / "p2p-copy" / "tls"
        self.notes = root / "notes"
        self.lineage.mkdir(parents=True)
        self.programs = root / "bin"
        self.programs.mkdir()
        self.relay_runs(True)

    def relay_runs(self, runs: bool) -> None:
        systemctl = self.programs / "systemctl"
        answer = "" if runs else '\n[ "$1" != is-active ]'
        systemctl.write_text(f'#!/bin/sh\necho "$*" >> "{self.notes}"{answer}\n')
        systemctl.chmod(0o755)

    def renew(self, number: int) -> None:
        """Do what certbot does: the names in live/ are links to files that only root may read."""
        for name in ("fullchain.pem", "privkey.pem"):
            file = self.lineage / f"{name}.{number}"
            file.write_text(f"{name} {number}")
            file.chmod(0o600)
            (self.lineage / name).unlink(missing_ok=True)
            (self.lineage / name).symlink_to(file.name)

    def hook(self) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "RENEWED_LINEAGE": str(self.lineage),
            "RENEWED_DOMAINS": "relay.example",
            "P2P_COPY_TLS": str(self.tls),
            "P2P_COPY_GROUP": GROUP,
        }
        return subprocess.run([HOOK], env=variables, capture_output=True, text=True, check=False)

    def pair(self) -> list[str]:
        return [(self.tls / name).read_text() for name in ("fullchain.pem", "privkey.pem")]

    def reloads(self) -> int:
        return self.notes.read_text().splitlines().count(RELOAD) if self.notes.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_shellcheck_has_nothing_to_say() -> None:
    check(need("shellcheck"), HOOK)


def test_the_first_certificate_is_copied_for_the_group_of_the_relay(machine: Machine) -> None:
    machine.renew(1)
    done = machine.hook()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.pair() == ["fullchain.pem 1", "privkey.pem 1"]
    for name in ("fullchain.pem", "privkey.pem"):
        status = (machine.tls / name).stat()
        assert status.st_mode & 0o777 == 0o640
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert machine.tls.stat().st_mode & 0o777 == 0o750
    assert machine.tls.parent.stat().st_mode & 0o777 == 0o755
    assert machine.notes.read_text().splitlines() == [IS_ACTIVE, RELOAD]


def test_each_renewal_replaces_the_pair_and_leaves_nothing_behind(machine: Machine) -> None:
    for number in range(1, 4):
        machine.renew(number)
        assert machine.hook().returncode == 0
        assert machine.pair() == [f"fullchain.pem {number}", f"privkey.pem {number}"]
        assert sorted(os.listdir(machine.tls.parent)) == sorted(["tls", os.readlink(machine.tls)])
    assert machine.reloads() == 3


def test_a_renewal_that_fails_half_way_changes_nothing(machine: Machine) -> None:
    machine.renew(1)
    assert machine.hook().returncode == 0
    machine.renew(2)
    (machine.lineage / "privkey.pem").unlink()
    done = machine.hook()
    assert done.returncode != 0
    assert "privkey.pem" in done.stderr
    assert machine.pair() == ["fullchain.pem 1", "privkey.pem 1"]
    assert len(os.listdir(machine.tls.parent)) == 2
    assert machine.reloads() == 1


def test_a_relay_that_does_not_run_is_no_failure(machine: Machine) -> None:
    machine.relay_runs(False)
    machine.renew(1)
    assert machine.hook().returncode == 0
    assert machine.pair() == ["fullchain.pem 1", "privkey.pem 1"]
    assert machine.reloads() == 0


def test_a_directory_that_is_there_already_is_not_touched(machine: Machine) -> None:
    machine.tls.mkdir(parents=True)
    (machine.tls / "privkey.pem").write_text("mine")
    machine.renew(1)
    done = machine.hook()
    assert done.returncode == 1
    assert "Move it away" in done.stderr
    assert (machine.tls / "privkey.pem").read_text() == "mine"


def test_a_link_that_is_there_already_is_replaced_and_its_directory_kept(machine: Machine) -> None:
    own = machine.tls.parent / "own.directory"
    own.mkdir(parents=True)
    machine.tls.symlink_to(own.name)
    machine.renew(1)
    assert machine.hook().returncode == 0
    assert machine.pair() == ["fullchain.pem 1", "privkey.pem 1"]
    assert own.is_dir()


def test_run_by_hand_it_says_what_it_needs() -> None:
    done = subprocess.run([HOOK], env={"PATH": os.defpath}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "RENEWED_LINEAGE" in done.stderr
    assert "/etc/letsencrypt/live/NAME" in done.stderr
