"""contrib/logrotate: a rotation under a relay that goes on writing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.contrib.programs import CONTRIB, check, need, replaced
from tests.support.processes import CODE, QUICK, both, environment
from tests.support.trees import make_tree

if TYPE_CHECKING:
    from pathlib import Path

LOG = "/var/log/run-relay-server.log"


def test_the_log_is_complete_across_a_rotation(tmp_path: Path) -> None:
    logrotate = need("logrotate")
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)
    log = folder / "run-relay-server.log"
    config = tmp_path / "config"
    config.write_text(replaced((CONTRIB / "logrotate" / "run-relay-server").read_text(), {LOG: str(log)}))
    config.chmod(0o644)
    tree = make_tree(tmp_path)
    with log.open("ab") as stream:  # as StandardOutput=append: does
        relay = subprocess.Popen(
            [sys.executable, "-m", "p2p_copy", "run-relay-server", "127.0.0.1", "0", "--no-tls"],
            stdout=stream,
            env=environment(),
        )
    try:
        url = _address(log)
        for number, code in enumerate((0, 0)):
            ends = both(url, tree, tmp_path / f"out{number}")
            assert [end[0] for end in ends] == [code, code]
            if number == 0:
                check(logrotate, "--force", "--state", tmp_path / "state", config)
    finally:
        relay.terminate()
        assert relay.wait(QUICK) == 0
    old, new = (log.with_name(f"{log.name}.1")).read_text(), log.read_text()
    assert "listening" in old
    assert "listening" not in new
    assert old.count("ended:") == new.count("ended:") == 1
    assert "\0" not in new  # the relay appends; a file position of its own would leave a hole
    assert CODE.partition("-")[2] not in old + new


def _address(log: Path) -> str:
    watch = subprocess.run(
        ["timeout", str(QUICK), "sh", "-c", f'until grep -o "ws://.*" "{log}"; do sleep 0.1; done'],
        capture_output=True,
        text=True,
        check=True,
    )
    return watch.stdout.split()[0]
