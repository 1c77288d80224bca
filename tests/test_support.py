"""The tests' own tools: a condition that never comes fails in time, a process is ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Audits
from sqlqueue.home import Home
from support import Cli, ManagerProcess, environment, stop, wait_until


def test_wait_until_returns_what_it_waited_for() -> None:
    answers = iter([None, "", "here"])
    assert wait_until(lambda: next(answers), 5) == "here"


def test_wait_until_fails_in_time() -> None:
    with pytest.raises(AssertionError, match=r"the door was not met within 0\.05 s"):
        wait_until(lambda: False, 0.05, "the door")


def test_stop_ends_a_process_that_listens_and_fails_on_one_that_does_not() -> None:
    sleeper = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", sleeper], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert stop(process) != 0
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); " + sleeper
    process = subprocess.Popen(
        [sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(AssertionError, match="did not stop"):
        stop(process, 0.1)
    assert process.returncode == -9


def test_the_home_is_in_the_test_folder_and_private(home: Home, tmp_path: Path) -> None:
    assert home.root == tmp_path
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_nothing_of_the_users_queue_reaches_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLQUEUE_HOME", "/elsewhere")
    assert "SQLQUEUE_HOME" not in environment(Path("state"))


def test_the_audit_at_the_end_sees_a_row_that_is_gone(
    small_queue: Cli, manager_process: ManagerProcess, audit_on_exit: Audits
) -> None:
    manager = manager_process.start()
    task = manager.ask({"type": "request_task", "worker_id": "plain"})
    result = {"task_id": task["task_id"], "worker_id": "plain", "result_data": {"value": 1}}
    assert manager.ask({"type": "submit_result", **result}) == {"type": "ack"}
    assert manager.stop() == 0
    found = small_queue.root / "results" / "final_results.csv"
    whole = found.read_bytes()
    found.write_bytes(whole.splitlines(keepends=True)[0])
    with pytest.raises(AssertionError, match="results"):
        audit_on_exit.run()
    found.write_bytes(whole)
