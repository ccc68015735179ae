"""What can be said about Windows and macOS from here: nothing that they lack is needed to import, send or receive."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import p2p_copy
from tests.support.processes import environment

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the lists say what Linux has and others lack"
)

WINDOWS_AND_MACOS = pytest.mark.parametrize("platform", ["win32", "darwin"])

ROOT = Path(p2p_copy.__path__[0])

HOMES = {
    "acme/store.py": {"fcntl", "msvcrt"},
    "cli/signals.py": {"signal"},
    "cli/ui/code_line.py": {"termios"},
    "files/accounts.py": {"grp", "pwd"},
    "files/state/store.py": {"fcntl", "msvcrt"},
    "files/stdio.py": {"fcntl", "msvcrt", "select"},
    "cli/run.py": {"ctypes"},
    "relay/system_limits.py": {"os", "resource"},
    "relay/workers/channel.py": {"socket"},
    "relay/workers/remote_gate.py": {"select"},
    "relay/workers/worker.py": {"signal"},
    "transport/splice.py": {"fcntl"},
    "transport/tcp.py": {"socket"},
    "files/directory.py": {"os"},
}
"""Where modules may be named that some systems lack, and where names may be looked up that some systems lack."""

NOT_EVERYWHERE = {"ctypes", "fcntl", "grp", "msvcrt", "pwd", "resource", "select", "termios", "tty"}

TRANSFER = """
from tests.platforms.poorer import import_everything, make_poorer
make_poorer(sys.argv[1])
import_everything()

import trio
from p2p_copy import AsyncClient, Code, Preserve, Relay

async def main():
    async with Relay() as relay, trio.open_nursery() as nursery:
        client, code = AsyncClient(relay=relay.urls[0]), Code.generate()
        nursery.start_soon(partial(client.send, "top", code=code, preserve=list(Preserve)))
        report = await client.receive("out", code=code, preserve=[Preserve.MODE])
    print(report.files, report.size, [failure.path for failure in report.failures])

trio.run(main)
"""

COMMAND = """
from tests.platforms.poorer import make_poorer
make_poorer(sys.argv.pop(1))
from p2p_copy.__main__ import main
main()
"""


def run(program: str, *words: str, at: Path) -> str:
    """Run a program in this directory and return its output."""
    begin = f"import sys\nfrom functools import partial\nsys.path.insert(0, {str(ROOT.parent)!r})\n"
    command = [sys.executable, "-c", begin + program, *words]
    states = environment(P2P_COPY_STATE_DIR=str(at / "states"))
    done = subprocess.run(command, cwd=at, env=states, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # all libraries and all of our modules are imported
@WINDOWS_AND_MACOS
def test_every_module_is_imported_and_a_tree_is_sent_and_received(platform: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(b"x" * 2_500_000)
    (top / "empty").touch()
    (top / "link").symlink_to("file")
    lost = ["top/link"] if platform == "win32" else []  # without a privilege there are no symlinks
    assert run(TRANSFER, platform, at=tmp_path) == f"2 2500000 {lost}\n"
    arrived = tmp_path / "out" / "top"
    assert sorted(path.name for path in arrived.iterdir()) == ["empty", "file"] + ["link"] * (not lost)
    assert (arrived / "file").read_bytes() == b"x" * 2_500_000
    for name in ("", "file", "empty"):
        assert (arrived / name).stat().st_mtime_ns == (top / name).stat().st_mtime_ns


@pytest.mark.slow  # all libraries are imported
@WINDOWS_AND_MACOS
def test_a_command_runs(platform: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(70_000))
    assert "file" in run(COMMAND, platform, "send", "--dry-run", "file", at=tmp_path)


def test_what_only_some_systems_have_is_named_in_few_places() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        home = HOMES.get(path.relative_to(ROOT).as_posix(), set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} & NOT_EVERYWHERE <= home, path
            if isinstance(node, ast.ImportFrom):
                assert node.module not in NOT_EVERYWHERE - home, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr"}:
                asked = ast.unparse(node.args[0]).partition(".")[0]
                assert asked not in {"os", "select", "signal", "socket", "time"} - home, (path, node.lineno)
