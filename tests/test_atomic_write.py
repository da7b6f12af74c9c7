"""A file that is replaced is at every moment the old one or the new one: errors, a full disk, a kill."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn
from fastnn.io.atomic import atomic_write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.startswith(".") or name.endswith(".tmp")]


def python(code, *args, **kwargs):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, args)], **kwargs)


def interrupt_saves(path, how, times):
    """A child saves one version after the other until a signal stops it, at a different moment each time.

    At most one draft is left, by a kill between its name and its new name, and only until the next write.
    """
    code = """
        import sys, fastnn as fn
        tensors = [fn.full((300_000,), float(i)) for i in range(2)]
        i = 0
        while True:
            fn.save({"x": tensors[i % 2]}, sys.argv[1])
            print(i, flush=True)
            i += 1
        """
    moments = np.random.default_rng(0).uniform(0, 0.02, times)  # several saves long
    for moment in moments:
        child = python(code, path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdout.readline() == b"0\n"
        time.sleep(moment)
        child.send_signal(how)
        assert child.wait(60) != 0
        child.stdout.close()
        assert set(fn.load(path)["x"].tolist()) in ({0.0}, {1.0})
        assert len(leftovers(path.parent)) <= (how == signal.SIGKILL)
    fn.save({"x": fn.ones(1)}, path)
    assert leftovers(path.parent) == []


def test_an_error_leaves_the_old_file(path):
    path.write_text("old")
    for error in (KeyboardInterrupt, ValueError, MemoryError):
        with pytest.raises(error), atomic_write(path) as file:  # noqa: PT012
            file.write(b"new")
            file.flush()
            raise error
    assert path.read_text() == "old"
    assert leftovers(path.parent) == []


def test_without_nameless_files(path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    test_an_error_leaves_the_old_file(path)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert leftovers(path.parent) == []


def test_permissions(path):
    mask = os.umask(0o027)
    try:
        with atomic_write(path) as file:
            file.write(b"1")
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    with atomic_write(path) as file:
        file.write(b"2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_links_stay_links(tmp_path, path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    with atomic_write(link) as file:
        file.write(b"1")
    assert link.is_symlink()
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize(
    "name", ["模型" * 38 + ".safetensors", "m" * 255, "é" * 127], ids=["240", "255", "254"]
)
@pytest.mark.parametrize("nameless", [True, False])
def test_names_as_long_as_the_system_allows(tmp_path, name, nameless, monkeypatch):
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    fn.save({"x": fn.ones(1)}, tmp_path / name)
    assert fn.load(tmp_path / name)["x"].item() == 1
    assert os.listdir(tmp_path) == [name]


def test_what_is_no_file_is_not_replaced(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    kinds = ["pipe", "socket"]
    if os.geteuid() == 0:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        kinds.append("null")
    path.symlink_to(tmp_path / kinds[-1])
    for name in (*kinds, path.name):
        before = os.stat(tmp_path / name)
        with pytest.raises(OSError, match=f"Not a regular file.*{name}"):
            fn.save({"x": fn.ones(1)}, tmp_path / name)
        with pytest.raises(OSError, match="Not a regular file"):
            fn.save_model(nn.Linear(1, 1), tmp_path / name)
        assert os.stat(tmp_path / name).st_ino == before.st_ino
    assert len(os.listdir(tmp_path)) == len(kinds) + 1


def test_errors_name_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fn.save({}, tmp_path / "nowhere" / "w.safetensors")
    with pytest.raises(OSError, match=str(tmp_path)):
        fn.save({}, tmp_path)


def test_a_full_disk_leaves_the_old_file(path):
    fn.save({"x": fn.ones(3)}, path)
    child = python(
        """
        import resource, sys, fastnn as fn
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            fn.save({"x": fn.zeros(1_000_000)}, sys.argv[1])
        except OSError as error:
            assert error.filename == sys.argv[1], error
            sys.exit(7)
        """,
        path,
    )
    assert child.wait(60) == 7
    assert fn.load(path)["x"].tolist() == [1, 1, 1]
    assert leftovers(path.parent) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_at_any_moment_leaves_a_whole_file(path, how):
    interrupt_saves(path, how, times=6)


@pytest.mark.full
def test_a_thousand_kills(path):
    interrupt_saves(path, signal.SIGKILL, times=1000)


def test_what_a_killed_writer_left_goes_with_the_next_write(path):
    """The one moment at which a draft has a name; a draft whose writer lives is not touched."""
    kill = """
        import os, signal, sys, fastnn as fn
        os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
        fn.save({"x": fn.ones(1)}, sys.argv[1])
        """
    fn.save({"x": fn.zeros(1)}, path)
    assert python(kill, path).wait(60) == -signal.SIGKILL
    assert len(leftovers(path.parent)) == 1
    assert fn.load(path)["x"].tolist() == [0]
    with atomic_write(path) as living:
        living.write(path.read_bytes())
        name = f".{path.name}.{'0' * 16}.tmp"
        folder = os.open(path.parent, os.O_RDONLY)
        os.link(f"/proc/self/fd/{living.fileno()}", name, dst_dir_fd=folder, follow_symlinks=True)
        os.close(folder)
        fn.save({"x": fn.full((1,), 2.0)}, path)
        assert leftovers(path.parent) == [name]
    fn.save({"x": fn.full((1,), 3.0)}, path)
    assert leftovers(path.parent) == []
    assert fn.load(path)["x"].tolist() == [3]


@pytest.mark.parametrize("nameless", [True, False])
def test_an_interruption_right_behind_the_call_that_names_the_draft(path, nameless, monkeypatch):
    """Python raises KeyboardInterrupt after the call, before the next statement."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    fn.save({"x": fn.zeros(1)}, path)
    names = "link" if nameless else "open"
    call = getattr(os, names)

    def interrupted(target, *args, **kwargs):
        done = call(target, *args, **kwargs)
        if nameless or str(target).endswith(".tmp"):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(os, names, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fn.save({"x": fn.ones(1)}, path)
    monkeypatch.undo()
    assert leftovers(path.parent) == []
    assert fn.load(path)["x"].tolist() == [0]
