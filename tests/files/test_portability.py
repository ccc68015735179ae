"""What can be said about Windows from here: nothing that it lacks is needed to import, send or receive files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import p2p_copy

POORER_SYSTEM = """
import os, sys
from contextlib import closing
import p2p_copy.files.source.walk, p2p_copy.files.target.target  # and all that is imported elsewhere

for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "fchmod", "link",
             "posix_fadvise", "fchown", "chown", "mkfifo", "geteuid", "SEEK_DATA", "SEEK_HOLE", "getxattr", "setxattr",
             "listxattr"):
    delattr(os, name)
os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks = set(), set(), set()
sys.platform = "win32"
for name in list(sys.modules):
    if name.startswith("p2p_copy.files") and not name.startswith("p2p_copy.files.state"):
        del sys.modules[name]  # so that they are imported anew, on the poorer system
os.chdir(sys.argv[1])

from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.source.reader import open_source
from p2p_copy.files.source.walk import walk
from p2p_copy.options import Conflict, Symlinks
from p2p_copy.files.target.errors import Refused
from p2p_copy.files.target.target import Target
from p2p_copy.protocol.manifest import Item
from p2p_copy.protocol.messages import Kind

items = {}
with closing(Target("out", conflict=Conflict.REFUSE)) as target:
    assert target.free_bytes() > 0
    for index, found in enumerate(walk(SourceTrees(["top"]))):
        item = items[found] = Item(index, items.get(found.parent), found.entry)
        if found.entry.kind is Kind.DIRECTORY:
            target.directories.make(item)
        elif found.entry.kind is Kind.FILE:
            part = target.files.begin(item)
            with open_source(found) as source:
                for piece in source.read_pieces(lambda: 1000):
                    part.skip(piece) if isinstance(piece, int) else part.write(piece)
            part.publish()
        else:
            try:
                target.make_symlink(item)
            except Refused as refused:
                print(refused.reason.name)
    for item in reversed(items.values()):
        if item.entry.kind is Kind.DIRECTORY:
            target.directories.finish(item)
"""


def test_files_are_sent_and_received_without_what_windows_lacks(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "file").write_bytes(b"x" * 2500)
    (tmp_path / "top" / "empty").touch()
    (tmp_path / "top" / "link").symlink_to("file")
    command = [sys.executable, "-c", POORER_SYSTEM, str(tmp_path)]
    home = Path(p2p_copy.__file__).parents[1]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "UNSUPPORTED\n", "")
    arrived = tmp_path / "out" / "top"
    assert sorted(path.name for path in arrived.iterdir()) == ["empty", "file"]
    assert (arrived / "file").read_bytes() == b"x" * 2500
    for name in ("", "file", "empty"):
        assert (arrived / name).stat().st_mtime_ns == (tmp_path / "top" / name).stat().st_mtime_ns
