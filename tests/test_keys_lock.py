"""The lock of a home: one holder, named to whoever comes second, gone with its process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sqlqueue.errors import HomeError, ManagerRunning
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock

HOLD = (
    "import sys; from pathlib import Path; from sqlqueue.home import Home; "
    "from sqlqueue.home_lock import HomeLock; lock = HomeLock(Home(Path(sys.argv[1])), 'test'); "
    "lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


def holder(home: Home) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_the_first_is(home: Home) -> None:
    with holder(home) as first:
        with pytest.raises(ManagerRunning) as caught, HomeLock(home):
            pass
        assert f"test (pid {first.pid} on {socket.gethostname()})" in caught.value.message
        assert str(home.path) in caught.value.message
        first.kill()


def test_within_one_process_too(home: Home) -> None:
    with HomeLock(home, "init"), pytest.raises(ManagerRunning, match=rf"init \(pid {os.getpid()}"):
        HomeLock(home).acquire()


def test_it_goes_with_its_process(home: Home) -> None:
    with holder(home) as first:
        first.kill()
        first.wait()
        with HomeLock(home):
            pass


def test_it_can_be_taken_again_after_release(home: Home) -> None:
    lock = HomeLock(home)
    for _ in range(2):
        with lock:
            assert home.lock.stat().st_mode & 0o777 == 0o600
    lock.release()


def test_a_holder_without_a_note_is_described_by_manager_json(home: Home) -> None:
    with HomeLock(home):
        home.lock.write_text("")
        home.manager_file.write_text('{"pid": 4711, "hostname": "elsewhere"}')
        with pytest.raises(ManagerRunning, match=r"a manager \(pid 4711 on elsewhere\)"):
            HomeLock(home).acquire()


def test_a_home_made_anew_is_locked_by_its_own_file(home: Home) -> None:
    with HomeLock(home):
        shutil.rmtree(home.path)
        home.create()
        with HomeLock(home), pytest.raises(ManagerRunning):
            HomeLock(home).acquire()


def test_a_home_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"nowhere/manager\.lock"):
        HomeLock(Home(tmp_path / "nowhere")).acquire()
