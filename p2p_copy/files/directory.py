"""Directories of the output tree, used through open handles, so that no symlink can redirect a write.

Rules
1. Every operation names one component, relative to an open handle of the directory in which it happens. A handle is
   opened relative to its parent's, with O_NOFOLLOW: a symlink is never followed, at any level.
2. At most `limits.DIRECTORY_HANDLES` handles are open. A handle that was closed to stay below that is opened again the
   same way, and must lead to the same directory; otherwise the directory counts as gone. Its inode number may differ,
   since FUSE gives another one once the kernel has forgotten it; then name, mode and owner must be the same.
3. Where the system has no such calls (Windows), paths are used instead. Before each operation every directory from the
   top down is looked at again: none may be a symlink or junction, and each must be the one that was opened. Between
   that look and the operation another user with write access to the output could still swap one. That is less than
   rule 1 promises, and the most that can be done there.

Everything here raises plain `OSError`; `target.errors` decides what it means.
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
from p2p_copy.files.attributes import PERMISSIONS
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.messages import Extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OPEN_CHILD: Final = system.OPEN_DIRECTORY | system.NO_SYMLINK

_NOT_A_DIRECTORY: Final = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EMLINK))
"""What systems answer to O_DIRECTORY | O_NOFOLLOW for anything but a directory."""

_FOR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
"""The bits of a mode that let others write; with an access list the first one is the most that it grants anyone."""

_BY_NAME: Final = 0o111
"""The bits of a mode that may depend on a file's name: Python sets them for .exe, .bat, .cmd and .com on Windows, and
some mounts of FAT do so, too."""

_SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX

_Identity: TypeAlias = tuple[int, int]


class _Pool(OrderedDict["Directory", None]):
    """The open handles of one tree, the most recently used last; and what applies to all of the tree."""

    attributes_lost = False
    allowed = PERMISSIONS


class Directory:
    """One directory that is being filled.

    Attributes:
        name: its name in its parent, or the path of the top.
        created: we made it, so no other user has put anything into it, and its attributes are ours to set.
        unrecorded: names in it that a killed process has made and not recorded; None until they were looked for.

    """

    __slots__ = (
        "_fd",
        "_identity",
        "_mode",
        "_owner",
        "_parent",
        "_pool",
        "_special_bits",
        "created",
        "name",
        "unrecorded",
    )

    def __init__(
        self, name: str, parent: Directory | None, fd: int | None, status: os.stat_result, *, created: bool
    ) -> None:
        self.name = name
        self._parent = parent
        self._fd = fd
        self._identity: _Identity = (status.st_dev, status.st_ino)
        self._mode = stat.S_IMODE(status.st_mode)
        self._owner = status.st_uid
        self._special_bits = status.st_mode & _SPECIAL_BITS
        self.created = created
        self.unrecorded: frozenset[str] | None = None
        if parent is None:
            self._pool = _Pool()  # without the top itself, which stays open
        else:
            self._pool = parent._pool
            self._remember()

    @property
    def device(self) -> int:
        """The number of the file system in which it lies."""
        return self._identity[0]

    @property
    def inner_path(self) -> str:
        """The names that lead here from the top, each followed by "/"; empty at the top."""
        return f"{self._parent.inner_path}{self.name}/" if self._parent is not None else ""

    @classmethod
    def top(cls, path: str, allowed: int = PERMISSIONS) -> Directory:
        """Open the top of a tree. The user named it, so `path` may contain symlinks.

        What is made in it gets at most the `allowed` permission bits.
        """
        path = os.path.abspath(path)
        if not system.HANDLES:
            top = cls(path, None, None, _checked(os.stat(path)), created=False)
        else:
            fd = os.open(path, system.OPEN_DIRECTORY)
            top = cls(path, None, fd, os.fstat(fd), created=False)
        top._pool.allowed = allowed
        return top

    # Children

    def make(self, name: str, probe: str) -> Directory:
        """Create a directory that only we may enter for now, and open it; `probe` is as in `is_ours`.

        `FileExistsError` if the name is taken, or if another user has put another directory there.
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
        """Open a directory that we have made, to put more into it, even if its mode does not let its owner do that.

        With a `probe`, as in `is_ours`, it must belong to us or to the user `given_to`; else `FileExistsError`: another
        user has put another one there.
        """
        try:
            directory = self.open(name)
        except PermissionError:
            self._give_access(name)
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

    def _give_access(self, name: str) -> None:
        """Let the owner read and enter a directory in this one that its mode forbids to open. Follows no symlink."""
        at, fd = self._at(name)
        if not system.HANDLE:
            os.chmod(at, 0o700, dir_fd=fd, follow_symlinks=False)
            return
        itself = os.open(at, system.HANDLE_OF_DIRECTORY, dir_fd=fd)
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

    # Files and symlinks

    def lstat(self, name: str) -> os.stat_result | None:
        """Return the status of what has a name, and not of what that points to; None if there is nothing."""
        at, fd = self._at(name)
        try:
            return os.stat(at, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: str) -> int:
        """Create a file that only we may read, open for writing; `FileExistsError` if the name is taken."""
        at, fd = self._at(name)
        return os.open(at, system.CREATE, 0o600, dir_fd=fd)

    def close_new(self, name: str) -> None:
        """Create an empty file; `FileExistsError` if the name is taken."""
        os.close(self.create(name))

    def hard_link(self, name: str, where: Directory, new: str) -> None:
        """Give a file here another name, in `where`; `FileExistsError` if it is taken. No symlink is followed."""
        if not hasattr(os, "link"):  # Android
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        source, fd = self._at(name)
        target, to = where._at(new)
        if os.link in os.supports_follow_symlinks:
            os.link(source, target, src_dir_fd=fd, dst_dir_fd=to, follow_symlinks=False)
        else:
            os.link(source, target)

    def reopen(self, name: str) -> int:
        """Open a file that exists, for writing. A symlink is never followed."""
        at, fd = self._at(name)
        return os.open(at, system.OPEN_TO_WRITE, dir_fd=fd)

    def is_ours(self, status: os.stat_result, probe: str) -> bool:
        """Return whether a file in this directory is like ours: it belongs to us, and no other user may write to it.

        Some file systems give files another owner or other modes than the program asks for: a server that does not
        trust root, a stick without owners. So if owner or mode differ, a file is made under the name `probe`, and
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
        """Create a file, and delete it; return its status."""
        fd = self.create(probe)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)
            self.unlink(probe)

    def is_made(self, name: str, made: os.stat_result) -> bool:
        """Return whether a name in this directory leads to the file that we made, which had the status `made` then.

        Owner, mode and size are compared. Inode numbers would say less: FUSE may give another name another number, and
        the number of a deleted file is used again.
        """
        there = self.lstat(name)
        return (
            there is not None
            and (there.st_uid, there.st_size) == (made.st_uid, made.st_size)
            and not (there.st_mode ^ made.st_mode) & ~_BY_NAME
        )

    def symlink(self, target: str, name: str) -> None:
        """Create a symlink; `FileExistsError` if the name is taken."""
        at, fd = self._at(name)
        os.symlink(target, at, dir_fd=fd)

    def move_new(self, old: str, new: str) -> None:
        """Rename a file to a name that must be free; `FileExistsError` if it is taken.

        A hard link does that atomically, and so does Windows' rename. On a file system without hard links we look and
        then rename: a file that another user creates between the two is replaced.
        """
        source, fd = self._at(old)
        target, _ = self._at(new)
        if sys.platform != "win32":
            try:
                os.link(source, target, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                if not self._same(old, new):
                    raise
                # NFS repeats a call whose answer was lost: then our own first try has taken the name.
            except OSError:
                self._rename_if_free(old, new)
                return
            with suppress(OSError):  # the file has its new name; if the old one stays, it does no harm
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
        """Rename, replacing anything but a directory; a symlink is replaced, not followed."""
        source, fd = self._at(old)
        target, _ = self._at(new)
        os.replace(source, target, src_dir_fd=fd, dst_dir_fd=fd)

    def unlink(self, name: str) -> None:
        """Delete a file or symlink."""
        at, fd = self._at(name)
        os.unlink(at, dir_fd=fd)

    def rmdir(self, name: str) -> None:
        """Delete an empty directory."""
        at, fd = self._at(name)
        os.rmdir(at, dir_fd=fd)

    def set_mode(self, name: str, mode: int) -> None:
        """Set the permission bits of a file in this directory, never of what a symlink points to."""
        at, fd = self._at(name)
        if not system.HANDLE:
            os.chmod(at, mode, dir_fd=fd, follow_symlinks=False)
            return
        itself = os.open(at, system.HANDLE, dir_fd=fd)
        try:
            if stat.S_ISREG(os.fstat(itself).st_mode):
                os.chmod(f"/proc/self/fd/{itself}", mode)
        finally:
            os.close(itself)

    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the time of a file or symlink in this directory, never of what a symlink points to."""
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
        """Whether something in this whole tree could not be given all of its attributes."""
        return self._pool.attributes_lost

    def give(self, extra: Extra, fd: int | None = None) -> None:
        """Set owner and extended attributes of an open file, or of this directory; call this before mode and time."""
        try:
            complete = attributes.give(self._itself() if fd is None else fd, extra)
        except OSError:
            complete = False
        self._pool.attributes_lost |= not complete

    def give_symlink(self, name: str, extra: Extra) -> None:
        """Set the owner of a symlink in this directory, but of nothing with which another user has replaced it."""
        try:
            if extra.owner is not None and system.HANDLE:
                at, fd = self._at(name)
                itself = os.open(at, system.HANDLE, dir_fd=fd)
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

    def update_attributes(self, name: str, there: os.stat_result, mode: int, extra: Extra | None) -> None:
        """Give a file that is here already, with the status `there`, what differs of its mode, owner and attributes."""
        if extra is not None and (extra.owner is not None or extra.xattrs):
            complete = False
            with suppress(OSError):
                fd = self.read(name)
                try:
                    same = os.path.samestat(os.fstat(fd), there)
                    complete = same and attributes.update(fd, there, extra)
                finally:
                    os.close(fd)
            self._pool.attributes_lost |= not complete
        if sys.platform != "win32" and there.st_mode & 0o777 != mode:
            with suppress(OSError):
                self.set_mode(name, mode)

    def has_attributes(self, name: str, there: os.stat_result, extra: Extra | None) -> bool:
        """Return whether a file with the status `there` has all of owner and extended attributes that it can have."""
        if extra is None:
            return True
        if extra.xattrs:
            with suppress(OSError):
                fd = self.read(name)
                try:
                    if os.path.samestat(os.fstat(fd), there) and not attributes.has_xattrs(fd, extra):
                        return False
                finally:
                    os.close(fd)
        return attributes.has_owner(there, extra)

    def update_symlink(self, name: str, there: os.stat_result, mtime_ns: int, extra: Extra | None) -> None:
        """Do the same for the time and owner of a symlink."""
        if extra is not None and not attributes.has_owner(there, extra):
            self.give_symlink(name, extra)
        if not system.is_time(there.st_mtime_ns, mtime_ns):
            with suppress(OSError, OverflowError):
                self.set_time(name, mtime_ns)

    # Reading

    def read(self, name: str) -> int:
        """Open a file for reading. A symlink is not followed, and opening a pipe does not wait.

        Windows follows symlinks, so the caller must compare what was opened with what `lstat` has returned.
        """
        at, fd = self._at(name)
        return os.open(at, system.OPEN_NO_SYMLINK, dir_fd=fd)

    def readlink(self, name: str) -> str:
        """Return what a symlink points to."""
        at, fd = self._at(name)
        return os.readlink(at, dir_fd=fd)

    def names(self) -> Iterator[str]:
        """Yield the names of all entries, in no order."""
        with os.scandir(self._itself()) as entries:
            for entry in entries:
                yield entry.name

    # The directory itself

    def status(self) -> os.stat_result:
        """Return its status."""
        return os.stat(self._itself())

    def mount(self) -> tuple[int, str]:
        """Return what tells the file system in which it lies from others; on Linux also from another mount of it.

        `OSError` if Linux does not tell the mount: `/proc` is missing.
        """
        device = self.status().st_dev
        if sys.platform != "linux":
            return device, ""
        with open(f"/proc/self/fdinfo/{self.handle()}", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("mnt_id:"):
                    return device, line
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def unlock(self) -> None:
        """Let the owner enter and change this directory, to put more into it; `set_attributes` ends that."""
        if sys.platform != "win32":
            with suppress(OSError):
                os.chmod(self._itself(), self._special_bits | 0o700)

    def lock(self, mode: int) -> None:
        """Set the mode that it had before `unlock`."""
        if sys.platform != "win32":
            with suppress(OSError):
                os.chmod(self._itself(), mode)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set the nine permission bits and the time, as far as the system allows.

        Special bits stay: they do not come from the sender but are inherited here, like setgid in directories that a
        group shares.
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
            if not status.f_blocks:  # some file systems do not say, such as those in memory
                return protocol_limits.MAX_FILE_SIZE
            return status.f_bavail * status.f_frsize
        return shutil.disk_usage(self._itself()).free

    def close(self) -> None:
        """Close the handle; the directory must not be used afterwards. May be called again."""
        self._pool.pop(self, None)
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    # Handles and paths

    def _at(self, name: str) -> tuple[str, int | None]:
        """Return the arguments by which a system call names an entry: name and handle, or path and None."""
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
            fd = os.open(self.name, _OPEN_CHILD, dir_fd=self._parent.handle())
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
        """Put the handle into the pool; close the least recently used one if they are too many (rule 2)."""
        if self._fd is None:
            return
        self._pool[self] = None
        if len(self._pool) > limits.DIRECTORY_HANDLES:
            oldest, _ = self._pool.popitem(last=False)
            oldest.close()

    def _verified_path(self) -> str:
        """Return the path, having checked that all directories on it are those that were opened (rule 3)."""
        if self._parent is None:
            self._expect(os.stat(self.name))
            return self.name
        path = os.path.join(self._parent._verified_path(), self.name)
        self._expect(_checked(os.lstat(path)))
        return path

    def _expect(self, status: os.stat_result) -> None:
        if (status.st_dev, status.st_ino) != self._identity:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@contextmanager
def reached(top: Directory, names: Sequence[str]) -> Iterator[Directory]:
    """Open the directory to which these names lead from another one, for the time of a `with`.

    It must be one that we filled. If it is complete, and its mode does not let us in, the mode is changed meanwhile.
    """
    opened, modes = [top], list[int]()
    try:
        for name in names:
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
    """Return the status if it is that of a directory, and not of a symlink or junction."""
    if not stat.S_ISDIR(status.st_mode) or system.is_symlink(status):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return status
