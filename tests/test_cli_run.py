"""`run`: a manager and a worker in one command, as a person lives with it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli_queue import Place, place

from sqlqueue.home import Home
from sqlqueue.parts import ENOUGH, MOST_ALIKE, Part, Repeats
from support import Cli, ManagerProcess, sqlqueue_command, stop, wait_until

RUN_SECONDS = 60.0

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def here(tmp_path: Path, cli: Cli) -> Place:
    return place(tmp_path, cli)


@pytest.fixture
def start(here: Place) -> Iterator[Start]:
    """Starts `run` in the background; it is stopped when the test leaves."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(file: str) -> subprocess.Popen[bytes]:
        running.append(here.cli.start("run", file, output=here.root / "run.txt"))
        return running[-1]

    yield begin
    for each in running:
        stop(each, RUN_SECONDS)


def said(here: Place) -> str:
    return (here.root / "run.txt").read_text()


def status(here: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(here.cli.ok("status", "--json"))
    return found


def part_of(parent: int, word: str) -> psutil.Process:
    """The child process of `run` that is the manager (`serve`) or the worker (`work`)."""

    def found() -> psutil.Process | None:
        children = psutil.Process(parent).children()
        return next((each for each in children if word in each.cmdline()), None)

    return wait_until(found, RUN_SECONDS, f"a process for {word}")


def began(here: Place, seed: int) -> None:
    wait_until((here.root / f"began-{seed}").exists, RUN_SECONDS, f"the task with seed {seed}")


def test_run_completes_and_says_where_the_rows_are(here: Place) -> None:
    one, two = here.sweep("a.yaml", "res_a"), here.sweep("b.yaml", "res_b", "two", widths=(4, 9))
    text = here.cli.ok("run", one, two)
    for each in ("6 new tasks", "6 of 6 tasks completed (100%) in ",
                 "4 rows  res_a/final_results.csv", "4 rows  res_b/final_results.csv",
                 "sqlqueue verify"):  # fmt: skip
        assert each in text
    assert len(here.rows("res_a")) == len(here.rows("res_b")) == 4
    assert here.home.manager() is None


def test_when_all_is_done_nothing_is_started(here: Place) -> None:
    file = here.sweep("a.yaml", "res_a")
    here.cli.ok("run", file)
    log = (here.home.logs / "run-manager.log").read_bytes()
    assert "4 of 4 tasks completed" in here.cli.ok("run", file)
    assert (here.home.logs / "run-manager.log").read_bytes() == log


def test_a_failed_task_is_exit_1_and_named(here: Place) -> None:
    done = here.cli("run", here.sweep("a.yaml", "res_a", seeds=(1,), widths=(2, -3)))
    assert done.returncode == 1, done.stderr
    for each in (
        "1 × ValueError: width must not be -3",
        "one_1_1",
        "`sqlqueue logs one_1_1`",
        "1 failed",
    ):
        assert each in done.stdout
    assert len(here.rows("res_a")) == 1
    other = here.cli("run", here.sweep("b.yaml", "res_b", "two", seeds=(5,)))
    assert other.returncode == 0, "failures of other phases are not this sweep's"


def test_the_manager_that_is_there_is_used_and_left_alone(
    here: Place, manager: ManagerProcess
) -> None:
    here.cli.ok("run", here.sweep("a.yaml", "res_a"))
    assert manager.process is not None
    assert manager.process.poll() is None
    assert not (here.home.logs / "run-manager.log").exists()
    assert len(here.rows("res_a")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_gives_the_tasks_back(here: Place, start: Start, number: signal.Signals) -> None:
    held = here.hold(2)
    file = here.sweep("a.yaml", "res_a", widths=(4,))
    running = start(file)
    began(here, 2)
    parts = [part_of(running.pid, word) for word in ("serve", "work")]
    own = os.getpgid(running.pid)
    assert all(os.getpgid(each.pid) != own for each in parts), "a terminal would stop all at once"
    running.send_signal(number)
    assert running.wait(RUN_SECONDS) == 130
    assert "running tasks go back to the queue" in said(here)
    assert "run the same command again" in said(here)
    assert not any(each.is_running() for each in parts)
    assert status(here)["totals"]["running"] == 0
    held.unlink()
    assert "2 of 2 tasks completed" in here.cli.ok("run", file)


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("serve", signal.SIGKILL),
        pytest.param("serve", signal.SIGTERM, marks=pytest.mark.slow),
        ("work", signal.SIGKILL),
    ],
)
def test_a_part_that_ends_early_comes_back(
    here: Place, start: Start, word: str, number: signal.Signals
) -> None:
    held = here.hold(2)
    running = start(here.sweep("a.yaml", "res_a", widths=(4,)))
    began(here, 2)
    first = part_of(running.pid, word)
    first.send_signal(number)
    wait_until(lambda: "ed: started again" in said(here), RUN_SECONDS, "a notice")
    held.unlink()
    assert running.wait(RUN_SECONDS) == 0, said(here)
    assert len(here.rows("res_a")) == 2


def test_no_part_outlives_a_run_that_is_killed(here: Place, start: Start) -> None:
    here.hold(2)
    running = start(here.sweep("a.yaml", "res_a", widths=(4,)))
    began(here, 2)
    parts = [part_of(running.pid, word) for word in ("serve", "work")]
    running.kill()
    running.wait()
    _, alive = psutil.wait_procs(parts, RUN_SECONDS)
    assert alive == []
    [worker] = status(here)["workers"]
    assert (worker["state"], worker["tasks"]) == ("gone", [])
    assert "1 worker not heard of any more" in here.cli.ok("status")


def test_a_manager_that_cannot_start_is_told_with_its_log(here: Place) -> None:
    part = Part("manager", here.home, ["serve", "--port", "none"])
    part.start()
    part.wait(RUN_SECONDS)
    assert part.status == 2
    assert not part.revive()
    message = part.failure().message
    assert f"the manager ended (exit 2); its log {here.home.logs}/run-manager.log" in message
    assert "--port': found 'none'" in message


def test_warnings_are_passed_on_once_and_whole(tmp_path: Path) -> None:
    part = Part("worker", Home(tmp_path), [])
    part.log.parent.mkdir()
    part.log.write_text(
        "10:00:00 cpu: running a_0 (attempt 1)\n"
        "10:00:01 warning: no GPU: USING THE CPU INSTEAD\n"
        "10:00:02 warning: cpu: FAILED a_0: ValueError: é\n"
        "10:00:03 error: disk"
    )
    assert part.warnings() == ["10:00:01 warning: no GPU: USING THE CPU INSTEAD"]
    with part.log.open("a") as log:
        log.write(" full\n")
    assert part.warnings() == ["10:00:03 error: disk full"]
    assert part.warnings() == []


def test_failures_for_one_reason_are_told_a_few_times_and_then_counted() -> None:
    def line(number: int, reason: str) -> str:
        return f"10:00:00 warning: Task a_{number} attempt 1 on w: FAILED: {reason}; it runs again"

    repeats = Repeats()
    told = [repeats.told(line(number, "ValueError: 7")) for number in range(MOST_ALIKE + 3)]
    assert told == [
        *(line(number, "ValueError: 7") for number in range(MOST_ALIKE)),
        ENOUGH,
        "",
        "",
    ]
    assert repeats.told(line(99, "ValueError: 8")) == line(99, "ValueError: 8")
    assert [repeats.told("10:00:01 warning: disk full")] * 9 == ["10:00:01 warning: disk full"] * 9


def test_in_a_terminal_there_is_a_picture_and_then_a_summary(here: Place) -> None:
    master, slave = pty.openpty()
    environment = here.cli.environment | {"TERM": "xterm-256color", "COLUMNS": "80"}
    del environment["NO_COLOR"]
    running = subprocess.Popen(
        sqlqueue_command("run", here.sweep("a.yaml", "res_a")),
        cwd=here.root, env=environment, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    text = everything(master)
    assert running.wait(RUN_SECONDS) == 0, text
    assert "━" in text
    assert "Ctrl-C stops; nothing is lost" in text
    assert re.search(r"4 of 4 tasks completed \(100%\) in \d+s", text)


def everything(master: int) -> str:
    """All that comes out of a terminal until the other end is closed."""
    parts: list[bytes] = []
    try:
        while data := os.read(master, 65536):
            parts.append(data)
    except OSError:
        pass  # how a terminal says that the other end is closed
    finally:
        os.close(master)
    return b"".join(parts).decode()
