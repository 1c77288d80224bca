"""Who may read what a queue leaves on a disk: private from the first instant, whatever the umask.

`strace` shows every file and folder that a whole run makes, and with which mode it asks for it.
What is not here: what another host can do (`test_security_network.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need

from sqlqueue import unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.errors import HomeError, ProtocolError
from sqlqueue.home import NAME, TOKEN, Home
from sqlqueue.protocol import SubmitResult
from sqlqueue.worker import devices, outcome
from sqlqueue.working import token
from support import Cli, ManagerProcess, connect, exchange, sqlqueue_command

SWEEP = """\
defaults: {output_dir: results, experiment: "look:measure"}
look: {combinations: [{seed: [1, 2]}]}
"""
CALLS = "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,bind,unlink,unlinkat,rename,link"
MADE = re.compile(
    r'(?P<call>open\w*|mkdir\w*|unlink\w*|rename)\((?:AT_FDCWD, )?"(?P<path>[^"]*)"(?P<rest>.*)'
)
MODE = re.compile(r"\b0[0-7]{3,4}\b")
NOBODY = 65534


@contextmanager
def open_to_all() -> Iterator[None]:
    """A umask that takes nothing away: what is private was asked to be."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def others(base: Path) -> dict[str, str]:
    """What other users could get at below a folder, the folder itself included."""
    found = {str(path.relative_to(base)): mode(path) for path in [base, *base.rglob("*")]}
    return {name: oct(bits) for name, bits in found.items() if bits & 0o077}


def test_all_that_a_run_makes_in_the_home_is_private_from_its_first_instant(
    cli: Cli, tmp_path: Path
) -> None:
    need(shutil.which("strace") is not None, "strace, to see what is asked of the system")
    (tmp_path / "look.yaml").write_text(SWEEP)
    (tmp_path / "look.py").write_text("def measure(seed):\n    return {'value': seed}\n")
    trace = tmp_path / "trace"
    words = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    with open_to_all():
        done = subprocess.run(
            [*words, *sqlqueue_command("run", "look.yaml")],
            cwd=tmp_path, env=cli.environment, capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = creations(trace.read_text(errors="replace"), tmp_path / NAME)
    names = {Path(path).name for path in made}
    assert {NAME, "logs", "queue.db", "queue.db-wal", "manager.lock", "1.log"} <= names
    assert any("secret" in name for name in names)
    assert {path: oct(asked) for path, asked in made.items() if asked & 0o077} == {}
    assert others(tmp_path / NAME) == {}


def creations(trace: str, home: Path) -> dict[str, int]:
    """The first mode with which each name below the home was asked for."""
    found: dict[str, int] = {}
    there: set[str] = set()
    for line in trace.splitlines():
        match = MADE.search(line)
        if not match or not match["path"].startswith(str(home)) or "= -1" in line:
            continue
        path = match["path"]
        if match["call"].startswith(("unlink", "rename")):
            there.discard(path)
        elif ("O_CREAT" in line or match["call"].startswith("mkdir")) and path not in there:
            there.add(path)
            asked = int(MODE.findall(match["rest"])[0], 8)
            found[path] = found.get(path, 0) | asked
    return found


def test_the_socket_of_a_manager_is_its_user_s(home: Home, manager_process: ManagerProcess) -> None:
    with open_to_all():
        manager_process.start()
    assert mode(manager_process.socket_path) == 0o600
    assert others(home.path) == {}


def as_nobody(act: Callable[[], object], folder: Path = Path("/")) -> str:
    """What becomes of it when another user of this machine does it, whose shell is in `folder`."""
    need(os.geteuid() == 0, "root, to be another user")
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.chdir(folder)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            said = repr(act())
        except BaseException as error:
            said = type(error).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_another_user_gets_at_nothing(manager: ManagerProcess) -> None:
    path = manager.socket_path
    for act in (
        lambda: connect(path, 2.0),
        lambda: list(manager.home.path.iterdir()),
        lambda: manager.home.database.read_bytes(),
        lambda: (manager.home.path / "owner.secret").read_bytes(),
    ):
        assert as_nobody(act) == "PermissionError"


def test_the_socket_asks_who_is_there_even_when_its_permissions_were_lost(
    manager: ManagerProcess,
) -> None:
    """The permissions are the guard; this is the second look."""
    path = manager.socket_path

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(5)
            wire.connect(path.name)
            wire.sendall(b'{"type": "status"}\n')
            return wire.recv(100)

    path.chmod(0o666)
    path.parent.chmod(0o711)
    assert as_nobody(ask, path.parent) in {"b''", "ConnectionResetError", "BrokenPipeError"}
    with connect(path) as wire:
        assert exchange(wire, {"type": "status"})["type"] == "status"
    assert "refused a connection of user" in manager.said


# --- what was there before ----------------------------------------------------------------


def test_a_folder_that_was_open_is_closed_when_it_becomes_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path / NAME)
    home.path.mkdir()
    home.path.chmod(0o777)
    home.create()
    assert mode(home.path) == 0o700


@pytest.mark.parametrize(("before", "after"), [(0o750, 0o750), (0o777, 0o755), (0o770, 0o750)])
def test_an_owner_may_let_others_look_but_not_write(home: Home, before: int, after: int) -> None:
    home.path.chmod(before)
    home.create()
    assert mode(home.path) == after


def test_a_home_that_cannot_be_closed_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / NAME)
    home.path.mkdir()
    home.path.chmod(0o777)
    tmp_path.chmod(0o755)
    found = as_nobody(lambda: _told(Home(Path(NAME)).create), tmp_path)
    assert "other users can get at this folder" in found
    assert "--home" in found


def _told(act: Callable[[], object]) -> str:
    try:
        return str(act())
    except HomeError as error:
        return error.message


def test_a_database_that_others_could_read_is_closed_by_the_next_who_writes(
    small_queue: Cli,
) -> None:
    database = small_queue.root / NAME / "queue.db"
    database.chmod(0o644)
    small_queue.ok("init", "small.yaml")
    assert mode(database) == 0o600


# --- what workers leave -------------------------------------------------------------------

RESULT = SubmitResult(
    task_id="look_0_1", worker_id="w", result_data={"a": 1}, attempt=1, signature="0" * 32
)


def test_a_result_that_waits_is_private(tmp_path: Path) -> None:
    with open_to_all():
        path = unsubmitted.write(tmp_path / "results" / unsubmitted.FOLDER, RESULT, "q")
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(path.parent.parent) == 0o777, "an output directory is the user's to share"


def test_what_is_too_large_for_a_message_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "MAX_METRICS_BYTES", 100)
    with open_to_all():
        outcome.fit({"weights": "x" * 1000}, [tmp_path / "attempts" / "a-1"], Disk())
    assert others(tmp_path / "attempts") == {}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a\rb", "a\x1b[2J", "a\u2028b", "\u202ea",
     "x" * 221, "é" * 111, "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_only_a_plain_name_becomes_a_file_s(name: str) -> None:
    with pytest.raises(ProtocolError):
        unsubmitted.safe_name(name)


def test_a_result_never_leaves_through_a_link(tmp_path: Path) -> None:
    """Neither a link in place of the file nor of its temporary name is followed."""
    folder, target = tmp_path / "unsubmitted", tmp_path / "target"
    folder.mkdir()
    target.write_text("untouched")
    name = unsubmitted.file_name(RESULT)
    (folder / name).symlink_to(target)
    (folder / f".{name}.{os.getpid()}.tmp").symlink_to(target)
    path = unsubmitted.write(folder, RESULT, "q")
    assert target.read_text() == "untouched"
    assert not path.is_symlink()
    assert [found for _, found in unsubmitted.scan(folder)] == [RESULT]


# --- the token ------------------------------------------------------------------------------


def test_a_child_does_not_inherit_the_token() -> None:
    inherited = {TOKEN: "secret", "PATH": "/bin"}
    assert TOKEN not in devices.child_environment(devices.CPU, 1, inherited)
    assert devices.child_environment(devices.CPU, 1, inherited)["PATH"] == "/bin"


def test_the_token_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, " secret.abc ")
    assert token() == "secret.abc"
    assert TOKEN not in os.environ
