"""Replacing a file so that every moment leaves either the old one or the new one, whole.

The bytes go to another file of the same folder, reach the disk (fsync), and only then take the name (rename);
the folder is synced last. On Linux that other file has no name until it is complete (O_TMPFILE): a ``kill -9``
leaves nothing behind, unless it falls between the two calls that name the file and rename it. Elsewhere it is a
hidden file, removed on every error. A living writer holds a lock on its file (flock), so the next write of the
same target knows what a killed one left, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

try:
    import fcntl
except ImportError:  # Windows, where nothing tells a living writer's file from a dead one's: none is removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_write", "replaceable"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Gives a file to write; ``path`` becomes that file when the block ends, and is untouched if it raises.

    Errors: OSError naming the path (no such folder, no permission, disk full, a device or pipe, which is no
    file that another could replace).
    """
    path = os.fsdecode(path)
    target = Path(os.path.realpath(path))  # a symbolic link keeps pointing to the file it points to
    try:
        if not replaceable(target):
            raise OSError(errno.EINVAL, "Not a regular file, which alone can be replaced", os.fspath(path))
        with _open_folder(target.parent) as folder, _Draft(target, folder) as draft:
            with open(draft.fd, "wb", closefd=False) as file:
                yield file
            os.fsync(draft.fd)
            draft.publish()
            _remove_orphans(target)
            if folder is not None:
                os.fsync(folder)
    except OSError as error:
        if error.errno is None or error.filename == os.fspath(path):
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


def replaceable(path: str | os.PathLike[str]) -> bool:
    """Whether a file is at this path, or nothing: no device, pipe or socket. (Of a folder the system speaks itself.)"""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int | None]:
    if os.name == "nt":  # Windows cannot open folders, and needs no sync of them
        yield None
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class _Draft:
    """The file being written: nameless where the system can do that, else hidden beside the target."""

    def __init__(self, target: Path, folder: int | None) -> None:
        self.target = target
        self.folder = folder
        self.name = target.parent / f"{_draft_prefix(target)}{os.urandom(8).hex()}.tmp"
        self.named = False
        self.fd = -1

    def __enter__(self) -> Self:
        try:
            self.fd = self._open()
            with contextlib.suppress(FileNotFoundError):  # the new file keeps the old one's permissions
                mode = stat.S_IMODE(self.target.stat().st_mode)
                os.chmod(self.fd if os.chmod in os.supports_fd else self.name, mode)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE"):
            with contextlib.suppress(OSError):  # the file system may not know it, and /proc may be missing
                fd = os.open(self.target.parent, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
                if os.path.exists(f"/proc/self/fd/{fd}"):
                    _lock(fd)
                    return fd
                os.close(fd)
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        )
        while True:
            self.named = True
            fd = os.open(self.name, flags, 0o666)
            _lock(fd)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # another writer took it for an orphan before it was locked

    def publish(self) -> None:
        if not self.named:
            # linkat() cannot replace a file, rename() can: a name first, then the rename. dst_dir_fd makes
            # Python call linkat, which follows the link in /proc to the nameless file.
            self.named = True  # before the call: Ctrl-C comes right behind it
            os.link(f"/proc/self/fd/{self.fd}", self.name.name, dst_dir_fd=self.folder, follow_symlinks=True)
        if os.name == "nt":  # an open file cannot be renamed there
            os.close(self.fd)
            self.fd = -1
        os.replace(self.name, self.target)
        self.named = False

    def __exit__(self, *exception: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        if self.named:
            with contextlib.suppress(OSError):
                os.unlink(self.name)


def _draft_prefix(target: Path) -> str:
    start = os.fsencode(target.name)[:200].decode(errors="ignore")  # a name has at most 255 bytes
    return f".{start}."


def _lock(fd: int) -> bool:
    """Whether this descriptor now holds its file's lock, which the system takes back when the process dies."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another, or a file system without locks
        return False
    return True


def _remove_orphans(target: Path) -> None:
    """Removes the drafts of this target whose writers were killed; what cannot be removed stays."""
    draft = re.compile(re.escape(_draft_prefix(target)) + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for name in [entry.name for entry in entries if draft.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                fd = os.open(target.parent / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK)
                try:
                    if _lock(fd):
                        os.unlink(target.parent / name)
                finally:
                    os.close(fd)
