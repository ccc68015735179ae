"""contrib/slurm: the job script as a batch system runs it, at both ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.contrib.programs import CONTRIB, check, need
from tests.support.processes import CODE, PATIENCE, environment, relay
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from pathlib import Path

JOB = CONTRIB / "slurm" / "p2p-copy.sbatch"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed here")


class Cluster:
    """A home directory as the job's first lines describe it, and a PATH with p2p-copy on it."""

    def __init__(self, root: Path, url: str = "ws://127.0.0.1:1") -> None:
        settings, programs = root / "home" / ".config" / "p2p-copy", root / "bin"
        settings.mkdir(parents=True)
        programs.mkdir()
        (settings / "code").write_text(f"{CODE}\n")
        (settings / "code").chmod(0o600)
        (settings / "config.toml").write_text(f'server = "{url}"\n')
        self.program = programs / "p2p-copy"
        self.write_program(f'exec "{sys.executable}" -m p2p_copy "$@"')
        self.variables = environment(HOME=str(root / "home"), PATH=f"{programs}:{os.environ['PATH']}")
        del self.variables["P2P_COPY_CONFIG"]
        self.variables.pop("XDG_CONFIG_HOME", None)

    def write_program(self, body: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{body}\n")
        self.program.chmod(0o755)

    def job(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(JOB), *words],
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def test_shellcheck_has_nothing_to_say() -> None:
    check(need("shellcheck"), JOB)


def test_a_tree_between_two_jobs(tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    with relay() as (url, _):
        cluster = Cluster(tmp_path, url)
        jobs = cluster.job("send", str(tree)), cluster.job("receive", "--out", str(tmp_path / "out"))
        for job in jobs:
            said, _ = job.communicate(timeout=PATIENCE)
            assert job.returncode == 0, said
            assert "passphrase" not in said
    assert snapshot(tmp_path / "out" / tree.name) == snapshot(tree)


@pytest.mark.parametrize(("first", "then", "tries"), [(10, 0, 2), (10, 3, 2), (0, 1, 1), (9, 0, 1)])
def test_a_job_tries_again_only_while_the_other_side_is_missing(
    tmp_path: Path, first: int, then: int, tries: int
) -> None:
    cluster = Cluster(tmp_path)
    count = tmp_path / "count"
    cluster.write_program(f'echo >> "{count}"\n[ "$(wc -l < "{count}")" -gt 1 ] && exit {then}\nexit {first}')
    pause = cluster.program.with_name("sleep")
    pause.write_text("#!/bin/sh\n")
    pause.chmod(0o755)
    job = cluster.job("send", "x")
    job.communicate(timeout=PATIENCE)
    assert job.returncode == (then if tries == 2 else first)
    assert len(count.read_text().splitlines()) == tries
