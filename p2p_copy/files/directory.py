"""Directories of the output tree, held so firmly that no symbolic link can move a write elsewhere.

Rules
1. Every operation names one component and is relative to an open handle of the directory it happens in.
   A handle is opened relative to its parent's, with O_NOFOLLOW: a link at any level is never followed.
2. At most `limits.DIRECTORY_HANDLES` handles are open. One that was closed for lack of room is opened again
   the same way, and must be the same directory; otherwise it counts as gone. It may have another number, since
   FUSE gives it one once the kernel has forgotten it; then it must still have its name, its mode and its owner.
3. Where the system has no such calls (Windows), paths are used instead, and before each operation every
   directory from the top is looked at again: none may be a link or junction, each must be the one that was
   opened. Between look and use somebody with write access to the output could still swap one. That is less
   than rule 1 promises, and the most that can be done there.

Everything here raises plain `OSError`; what it means is decided in `target`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections import OrderedDict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

from p2p_copy.files import attributes, limits, system
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CREATE: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip

_READ: Final = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip

_OPEN_DIRECTORY: Final = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
)  # fmt: skip

_REOPEN: Final = _READ & ~os.O_RDONLY | os.O_WRONLY

_OPEN_CHILD: Final = _OPEN_DIRECTORY | getattr(os, "O_NOFOLLOW", 0)

_O_PATH: Final = getattr(os, "O_PATH", 0)
"""Linux' flag for a handle of what one may not open."""

_NOT_A_DIRECTORY: Final = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EMLINK))
"""What systems answer to O_DIRECTORY | O_NOFOLLOW for a link or anything else that is no directory."""

_FOR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
"""The bits of a mode that let others write; with an access list the first one is of the most that it gives anybody."""

_BY_NAME: Final = 0o111
"""The bits of a mode that a file may have for its name's sake: Python gives them to each .exe, .bat, .cmd and .com on
Windows, and some mounts of FAT do."""

PERMISSIONS: Final = 0o777
"""The permission bits that may be given; setuid, setgid and sticky never are."""

_SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX

_Identity: TypeAlias = tuple[int, int]


class _Pool(OrderedDict["Directory", None]):
    """The open handles of one tree, the one that was used last at the end; and what went wrong in it."""

    attributes_lost = False
    allowed = PERMISSIONS


class Directory:
    """One directory that is being filled.

    Attributes:
        created: we made it, so nobody else has put anything into it, and its attributes are ours to set.
        unrecorded: names in it that no journal knows, once somebody has looked.

    """

    __slots__ = (
        "_fd",
        "_identity",
        "_mode",
        "_name",
        "_owner",
        "_parent",
        "_pool",
        "_special_bits",
        "created",
        "unrecorded",
    )

    def __init__(
        self, name: str, parent: Directory | None, fd: int | None, status: os.stat_result, *, created: bool
    ) -> None:
        self._name = name
        self._parent = parent
        self._fd = fd
        self._identity: _Identity = (status.st_dev, status.st_ino)
        self._mode = stat.S_IMODE(status.st_mode)
        self._owner = status.st_uid
        self._special_bits = status.st_mode & _SPECIAL_BITS
        self.created = created
        self.unrecorded: frozenset[str] | None = None
        if parent is None:
            self._pool = _Pool()  # never holds the top itself, which stays open
        else:
            self._pool = parent._pool
            self._remember()

    @property
    def name(self) -> str:
        """Its name in its parent."""
        return self._name

    @property
    def inner_path(self) -> str:
        """The names that lead here from the top, each followed by "/"; empty at the top."""
        return f"{self._parent.inner_path}{self._name}/" if self._parent is not None else ""

    @classmethod
    def top(cls, path: str, allowed: int = PERMISSIONS) -> Directory:
        """Open the directory under which all happens; the user named it, so links in `path` are fine.

        What is made in it has none but the `allowed` permission bits.
        """
        path = os.path.abspath(path)
        if not system.HANDLES:
            top = cls(path, None, None, _checked(os.stat(path)), created=False)
        else:
            fd = os.open(path, _OPEN_DIRECTORY)
            top = cls(path, None, fd, os.fstat(fd), created=False)
        top._pool.allowed = allowed
        return top

    # Children

    def make(self, name: str, probe: str) -> Directory:
        """Create a directory that only we may enter for now, and open it.

        `FileExistsError` if the name is taken, or if somebody has put another directory there; `probe`: see `is_ours`.
        """
        at, fd = self._at(name)
        os.mkdir(at, 0o700, dir_fd=fd)
        made = self._open(name, created=True)
        self._close_unless_ours(made, probe)
        return made

    def open(self, name: str) -> Directory:
        """Open a real directory that exists already; `NotADirectoryError` for anything else."""
        return self._open(name, created=False)

    def open_own(self, name: str, probe: str = "", *, given_to: int | None = None) -> Directory:
        """Open a directory that we have made, to put more into it, even if its mode lets its owner do less.

        With a `probe`, see `is_ours`, it must belong to us or to the user `given_to`; else `FileExistsError`: somebody
        has put another one there.
        """
        try:
            directory = self.open(name)
        except PermissionError:
            self._let_in(name)
            directory = self.open(name)
        if probe and directory._owner != given_to:
            self._close_unless_ours(directory, probe)
        directory.created = True
        directory.unlock()
        return directory

    def _close_unless_ours(self, inner: Directory, probe: str) -> None:
        try:
            ours = self._is_owned_by_us(inner._owner, probe)
        except OSError:
            ours = False
        if not ours:
            inner.close()
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _let_in(self, name: str) -> None:
        """Let the owner of a directory in here enter and read it, who may not even open it. No link is followed."""
        at, fd = self._at(name)
        if not _O_PATH:
            os.chmod(at, 0o700, dir_fd=fd, follow_symlinks=False)
            return
        itself = os.open(at, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            special_bits = os.fstat(itself).st_mode & _SPECIAL_BITS
            os.chmod(f"/proc/self/fd/{itself}", special_bits | 0o700)
        finally:
            os.close(itself)

    def _open(self, name: str, *, created: bool) -> Directory:
        at, parent_fd = self._at(name)
        if parent_fd is None:
            return Directory(name, self, None, _checked(os.lstat(at)), created=created)
        try:
            fd = os.open(at, _OPEN_CHILD, dir_fd=parent_fd)
        except OSError as error:
            if error.errno in _NOT_A_DIRECTORY:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            raise
        return Directory(name, self, fd, os.fstat(fd), created=created)

    # Files and links

    def lstat(self, name: str) -> os.stat_result | None:
        """Return what lies under a name, itself and not what it points to; None if nothing does."""
        at, fd = self._at(name)
        try:
            return os.stat(at, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: str) -> int:
        """Create a file that only we may read, open for writing; `FileExistsError` if the name is taken."""
        at, fd = self._at(name)
        return os.open(at, CREATE, 0o600, dir_fd=fd)

    def close_new(self, name: str) -> None:
        """Create an empty file; `FileExistsError` if the name is taken."""
        os.close(self.create(name))

    def link(self, name: str, where: Directory, new: str) -> None:
        """Give a file in here another name, in `where`; `FileExistsError` if that is taken. No link is followed."""
        if not hasattr(os, "link"):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        source, fd = self._at(name)
        target, to = where._at(new)
        if os.link in os.supports_follow_symlinks:
            os.link(source, target, src_dir_fd=fd, dst_dir_fd=to, follow_symlinks=False)
        else:
            os.link(source, target)

    def reopen(self, name: str) -> int:
        """Open a file that is there, for writing. A link is never followed."""
        at, fd = self._at(name)
        return os.open(at, _REOPEN, dir_fd=fd)

    def is_ours(self, status: os.stat_result, probe: str) -> bool:
        """Return whether a file in here is like one that we make: it belongs to us, and nobody else may write to it.

        Some file systems give files another owner or other modes than the program asks for: a server that does not
        trust root, a stick that knows no owners. So where that is not plain, a file is made under the name `probe`, and
        compared. Windows has no such owners and modes.
        """
        if sys.platform == "win32":
            return True
        for_others = status.st_mode & _FOR_OTHERS
        if not for_others and status.st_uid == os.geteuid():
            return True
        made = self.try_out(probe)
        return status.st_uid == made.st_uid and not for_others & ~made.st_mode

    def _is_owned_by_us(self, owner: int, probe: str) -> bool:
        if sys.platform == "win32" or owner == os.geteuid():
            return True
        return owner == self.try_out(probe).st_uid

    def try_out(self, probe: str) -> os.stat_result:
        """Return what the system says of a new file in here."""
        fd = self.create(probe)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
            self.unlink(probe)

    def is_made(self, name: str, made: os.stat_result) -> bool:
        """Return whether what has a name in here is what we have made, of which the system said this then.

        It has the same owner, mode and size. Numbers of inodes would say less: FUSE may give another name another one,
        and what is removed leaves its number to the next file.
        """
        there = self.lstat(name)
        return (
            there is not None
            and (there.st_uid, there.st_size) == (made.st_uid, made.st_size)
            and not (there.st_mode ^ made.st_mode) & ~_BY_NAME
        )

    def symlink(self, target: str, name: str) -> None:
        """Create a symbolic link; `FileExistsError` if the name is taken."""
        at, fd = self._at(name)
        os.symlink(target, at, dir_fd=fd)

    def move_new(self, old: str, new: str) -> None:
        """Rename a file to a name that must be free; `FileExistsError` if it is taken.

        A hard link does that in one step that nobody can come between; Windows' rename does, too. A file
        system without hard links gets a look and a rename: whoever takes the name between the two loses it.
        """
        source, fd = self._at(old)
        target, _ = self._at(new)
        if sys.platform != "win32":
            try:
                os.link(source, target, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                if not self._same(old, new):
                    raise
                # NFS repeats a call whose answer was lost: the name is taken by the first try of ours.
            except OSError:
                self._rename_if_free(old, new)
                return
            with suppress(OSError):  # the file has its name; what is left is a second one
                os.unlink(source, dir_fd=fd)
        else:
            os.rename(source, target)

    def _same(self, old: str, new: str) -> bool:
        one, other = self.lstat(old), self.lstat(new)
        return one is not None and other is not None and os.path.samestat(one, other)

    def _rename_if_free(self, old: str, new: str) -> None:
        if self.lstat(new) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        source, fd = self._at(old)
        target, _ = self._at(new)
        os.rename(source, target, src_dir_fd=fd, dst_dir_fd=fd)

    def move_over(self, old: str, new: str) -> None:
        """Rename, replacing what has the new name and is no directory; a link is replaced, not followed."""
        source, fd = self._at(old)
        target, _ = self._at(new)
        os.replace(source, target, src_dir_fd=fd, dst_dir_fd=fd)

    def unlink(self, name: str) -> None:
        """Remove a file or link."""
        at, fd = self._at(name)
        os.unlink(at, dir_fd=fd)

    def set_mode(self, name: str, mode: int) -> None:
        """Set the permission bits of a file in here, never of what a link points to."""
        at, fd = self._at(name)
        if not _O_PATH:
            os.chmod(at, mode, dir_fd=fd, follow_symlinks=False)
            return
        itself = os.open(at, _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            if stat.S_ISREG(os.fstat(itself).st_mode):
                os.chmod(f"/proc/self/fd/{itself}", mode)
        finally:
            os.close(itself)

    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the time of a file or link in here, never of what a link points to."""
        at, fd = self._at(name)
        if os.utime in os.supports_follow_symlinks:
            os.utime(at, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)
        else:
            os.utime(at, ns=(mtime_ns, mtime_ns))

    # Modes, owners and extended attributes, as far as the system gives them

    @property
    def allowed(self) -> int:
        """The permission bits that files and directories may be given in this whole tree."""
        return self._pool.allowed

    @property
    def attributes_lost(self) -> bool:
        """Whether something in this whole tree could not have all that it was to be given."""
        return self._pool.attributes_lost

    def give(self, extra: Extra, fd: int | None = None) -> None:
        """Give them to a file in here that is open, else to the directory itself; before its mode and time."""
        try:
            complete = attributes.give(self._itself() if fd is None else fd, extra)
        except OSError:
            complete = False
        self._pool.attributes_lost |= not complete

    def give_symlink(self, name: str, extra: Extra) -> None:
        """Give a symbolic link in here its owner; nothing else, should somebody have put that in its place."""
        try:
            if extra.owner is not None and _O_PATH:
                at, fd = self._at(name)
                itself = os.open(at, _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                try:
                    complete = stat.S_ISLNK(os.fstat(itself).st_mode) and attributes.give(
                        f"/proc/self/fd/{itself}", Extra(owner=extra.owner)
                    )
                finally:
                    os.close(itself)
            else:
                complete = attributes.give_symlink(*self._at(name), extra)
        except OSError:
            complete = False
        self._pool.attributes_lost |= not complete

    # Reading

    def read(self, name: str) -> int:
        """Open a file for reading; a link is not followed, and a pipe not waited for.

        Windows follows: the caller compares what was opened with what `lstat` has said.
        """
        at, fd = self._at(name)
        return os.open(at, _READ, dir_fd=fd)

    def readlink(self, name: str) -> str:
        """Return what a symbolic link points to."""
        at, fd = self._at(name)
        return os.readlink(at, dir_fd=fd)

    def names(self) -> Iterator[str]:
        """Yield the names of all that lies in here, in no order."""
        with os.scandir(self._itself()) as entries:
            for entry in entries:
                yield entry.name

    # The directory itself

    def status(self) -> os.stat_result:
        """Return what the system says of it."""
        return os.stat(self._itself())

    def unlock(self) -> None:
        """Let its owner, who is to put more into it, enter and change it; `set_attributes` comes later."""
        if sys.platform != "win32":
            with suppress(OSError):
                os.chmod(self._itself(), self._special_bits | 0o700)

    def lock(self, mode: int) -> None:
        """Give it back the mode that it had before `unlock`."""
        if sys.platform != "win32":
            with suppress(OSError):
                os.chmod(self._itself(), mode)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set the nine permission bits and the time; what the system refuses stays as it is.

        Special bits are kept: they are not the sender's but inherited here, as is setgid in the directories
        that a group shares.
        """
        with suppress(OSError, OverflowError):
            os.utime(self._itself(), ns=(mtime_ns, mtime_ns))
        if sys.platform != "win32":
            with suppress(OSError):
                os.chmod(self._itself(), self._special_bits | mode & 0o777)

    def free_bytes(self) -> int:
        """Return the bytes that an ordinary user may still write here."""
        if sys.platform != "win32":
            status = os.statvfs(self._itself())
            if not status.f_blocks:  # a file system that does not say, as those in memory
                return protocol_limits.MAX_FILE_SIZE
            return status.f_bavail * status.f_frsize
        return shutil.disk_usage(self._itself()).free

    def close(self) -> None:
        """Let go of the handle; it is an error to use the directory afterwards. May be called again."""
        self._pool.pop(self, None)
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    # Reaching it

    def _at(self, name: str) -> tuple[str, int | None]:
        """Return how to name something in here in a system call: a name and a handle, or a path and None."""
        if system.HANDLES:
            return name, self.handle()
        return os.path.join(self._verified_path(), name), None

    def _itself(self) -> int | str:
        return self.handle() if system.HANDLES else self._verified_path()

    def handle(self) -> int:
        """Return the open handle, for systems with `system.HANDLES`; good until another directory is used."""
        fd = self._fd
        if fd is None:
            assert self._parent is not None, "the top stays open until all is over"
            fd = os.open(self._name, _OPEN_CHILD, dir_fd=self._parent.handle())
            try:
                status = os.fstat(fd)
                if status.st_uid != self._owner:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                if self.created and stat.S_IMODE(status.st_mode) not in {
                    self._mode,
                    self._special_bits | 0o700,
                }:
                    self._expect(status)
            except OSError:
                os.close(fd)
                raise
            self._fd = fd
            self._remember()
        elif self._parent is not None:
            self._pool.move_to_end(self)
        return fd

    def _remember(self) -> None:
        """Enter the handle into the pool, in exchange for the one that was used least recently (rule 2)."""
        if self._fd is None:
            return
        self._pool[self] = None
        if len(self._pool) > limits.DIRECTORY_HANDLES:
            oldest, _ = self._pool.popitem(last=False)
            oldest.close()

    def _verified_path(self) -> str:
        """Return the path, all of whose directories are still what they were when opened (rule 3)."""
        if self._parent is None:
            self._expect(os.stat(self._name))
            return self._name
        path = os.path.join(self._parent._verified_path(), self._name)
        self._expect(_checked(os.lstat(path)))
        return path

    def _expect(self, status: os.stat_result) -> None:
        if (status.st_dev, status.st_ino) != self._identity:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@contextmanager
def reached(top: Directory, way: Sequence[str]) -> Iterator[Directory]:
    """Open the directory to which these names lead from another one, for the time of a `with`.

    We have put something into it. If it has its mode by now, and that keeps us out, it has another one meanwhile.
    """
    opened, modes = [top], list[int]()
    try:
        for name in way:
            above = opened[-1]
            there = above.lstat(name)
            mode = stat.S_IMODE(there.st_mode) if there is not None else 0o700
            locked = there is not None and stat.S_ISDIR(there.st_mode) and mode & 0o700 != 0o700
            opened.append(above.open_own(name) if locked else above.open(name))
            modes.append(mode if locked else -1)
        yield opened[-1]
    finally:
        for directory, mode in zip(reversed(opened[1:]), reversed(modes), strict=True):
            if mode >= 0:
                directory.lock(mode)
            directory.close()


def _checked(status: os.stat_result) -> os.stat_result:
    """Return the status if it is a real directory's."""
    if not stat.S_ISDIR(status.st_mode) or system.is_symlink(status):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return status
