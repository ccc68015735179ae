"""Small files that have no name until they are complete, and what takes their place where that is not possible."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from p2p_copy.errors import OutputNotWritable
from p2p_copy.files import system
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol.messages import Extra, Reason
from tests.files.helpers import a_directory, a_file, open_handles, permissions, put_small, refusal, tree
from tests.support.trees import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator


def _is_possible() -> bool:
    """Return whether the file system of temporary files can do it."""
    import tempfile

    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as name:
        try:
            os.close(os.open(name, system.CREATE_UNNAMED, 0o600))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not _is_possible(), reason="there are no files without names here")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def target(out: Path) -> Iterator[Target]:
    with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
        yield target


class Asked:
    """Lets calls of `os` fail if they are about files without names, and counts them."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self._patched = patched
        self.count = 0

    def refuse_to_create(self, number: int) -> None:
        really = os.open

        def fail(path: str, flags: int, *more: Any, **options: Any) -> int:
            if sys.platform == "linux" and flags & os.O_TMPFILE == os.O_TMPFILE:
                self.count += 1
                raise OSError(number, os.strerror(number))
            return really(path, flags, *more, **options)

        self._patched.setattr(os, "open", fail)

    def refuse_to_name(self, number: int) -> None:
        really = os.link

        def fail(source: str, name: str, **options: Any) -> None:
            if source.startswith("/proc/self/fd/"):
                self.count += 1
                raise OSError(number, os.strerror(number))
            really(source, name, **options)

        self._patched.setattr(os, "link", fail)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


KILLED = """
import os, signal, sys
from contextlib import closing
from p2p_copy.files import system
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from tests.files.helpers import a_directory, a_file

out, way = sys.argv[1:]
if way == "named":
    system.CREATE_UNNAMED = 0
link, names = os.link, 0

def die_at_the_last(*where, **options):
    global names
    names += 1
    if names == 300:
        os.kill(os.getpid(), signal.SIGKILL)
    link(*where, **options)

os.link = die_at_the_last
target = Target(out, conflict=Conflict.REFUSE)
top = a_directory("top")
target.directories.make(top)
files = [(a_file(str(number), top, size=4096), bytes(4096)) for number in range(500)]
list(target.small_files.put(files))
"""


@pytest.mark.parametrize(("way", "left"), [("unnamed", 0), ("named", 1)])
def test_a_killed_process_leaves_no_unfinished_small_file(out: Path, way: str, left: int) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(out), way], cwd=root, check=False, capture_output=True, timeout=60
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert len(leftovers(out)) == left
    complete = [path for path in (out / "top").iterdir() if not path.name.startswith(".")]
    assert len(complete) == 299
    assert {path.stat().st_size for path in complete} == {4096}


def test_a_small_file_has_no_name_before_it_is_complete(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = a_directory("top")
    target.directories.make(top)
    listed: list[list[str]] = []
    link = os.link

    def look(*where: Any, **options: Any) -> None:
        listed.append(os.listdir(out / "top"))
        link(*where, **options)

    monkeypatch.setattr(os, "link", look)
    put_small(target, a_file("file", top, mode=0o640, mtime_ns=10**18))
    assert listed == [[]]
    there = (out / "top" / "file").stat()
    assert (there.st_mtime_ns, there.st_nlink, there.st_size) == (10**18, 1, 3)
    assert stat.S_IMODE(there.st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL])
@pytest.mark.parametrize("what", ["create", "name"])
def test_a_file_system_without_it_is_asked_once(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    asked = Asked(monkeypatch)
    getattr(asked, f"refuse_to_{what}")(number)
    before = open_handles()
    for top in (a_directory("one"), a_directory("two")):
        target.directories.make(top)
        for name in "ab":
            put_small(target, a_file(name, top))
        target.directories.finish(top)
    assert asked.count == 1
    assert tree(out) == {
        "one": "directory",
        "one/a": "new",
        "one/b": "new",
        "two": "directory",
        "two/a": "new",
        "two/b": "new",
    }
    assert open_handles() == before


def test_a_name_that_is_taken_is_refused_and_nothing_is_left(target: Target, out: Path) -> None:
    top = a_directory("top")
    target.directories.make(top)
    (out / "top" / "file").write_text("mine")
    before = open_handles()
    assert refusal(lambda: put_small(target, a_file("file", top))) is Reason.EXISTS
    assert tree(out / "top") == {"file": "mine"}
    assert open_handles() == before


def test_a_disk_that_is_full_is_no_lack_of_the_file_system(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = a_directory("top")
    target.directories.make(top)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda *_: os.open("/dev/null/nothing", os.O_RDONLY))
        assert refusal(lambda: put_small(target, a_file("a", top))) is Reason.NOT_WRITABLE
    asked = Asked(monkeypatch)
    asked.refuse_to_create(errno.EOPNOTSUPP)
    put_small(target, a_file("b", top))
    assert asked.count == 1
    assert tree(out / "top") == {"b": "new"}


def test_what_cannot_be_stored_after_all_has_no_name(
    target: Target, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may say so only when the file is closed."""
    top = a_directory("top")
    target.directories.make(top)
    close = os.close

    def fail(fd: int) -> None:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        close(fd)
        if regular:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", fail)
        with pytest.raises(OutputNotWritable):
            put_small(target, a_file("file", top))
    assert tree(out) == {"top": "directory"}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o444, 0o666, 0o755])
def test_the_umask_of_the_process_takes_nothing_that_the_user_allows(out: Path, mask: int, mode: int) -> None:
    with closing(Target(str(out), conflict=Conflict.REFUSE, allowed=0o777)) as target:
        top = a_directory("top")
        target.directories.make(top)
        with umask(mask):
            put_small(target, a_file("file", top, mode=mode))
        assert permissions(out / "top" / "file") == mode
        assert (out / "top" / "file").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "linux", reason="Python has extended attributes on Linux only")
def test_a_file_that_its_owner_may_not_write_gets_its_attributes(commoners_path: Path) -> None:
    assert sys.platform == "linux"
    try:
        os.setxattr(commoners_path, "user.test", b"x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    out = commoners_path / "out"
    with closing(Target(str(out), conflict=Conflict.REFUSE)) as target:
        top, item = a_directory("top"), a_file("file", None, mode=0o444)
        target.directories.make(top)
        item.parent = top
        item.entry = item.entry._replace(extra=Extra(xattrs=(("user.test", b"value"),)))
        put_small(target, item)
        assert os.getxattr(out / "top" / "file", "user.test") == b"value"
        assert permissions(out / "top" / "file") == 0o444
        assert not target.attributes_lost


def test_a_directory_that_is_replaced_gets_nothing(target: Target, out: Path, tmp_path: Path) -> None:
    """Files go into the directory that was made, wherever it is, and not into what has its name."""
    top = a_directory("top")
    target.directories.make(top)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = [(a_file(name, top), b"new") for name in "abc"]
    putting = target.small_files.put(files)
    assert next(putting) == (files[0][0], None)
    (out / "top").rename(tmp_path / "away")
    (out / "top").symlink_to(elsewhere)
    assert [refused for _, refused in putting] == [None, None]
    assert tree(tmp_path / "away") == {"a": "new", "b": "new", "c": "new"}
    assert tree(elsewhere) == {}
