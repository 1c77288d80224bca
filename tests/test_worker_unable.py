"""A worker that cannot find the experiment where it is: not the task's fault, so not charged.

Real managers, workers and children.  In the root of the queue, where its owner keeps the
experiments, what cannot be imported is a failure like any other, so that a sweep ends.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from worker_queue import SECONDS, Queue

from sqlqueue.worker.unable import FIRST_SECONDS, LONGEST_SECONDS, Unable
from support import Cli, wait_until

MODULE = "experiments_for_tests.py"


class Elsewhere:
    """A folder that is not the root, and workers in it."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._queue = queue
        self._cli = Cli(folder, queue.cli.environment)

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        found = self._queue.home.manager()
        assert found is not None
        process = self._cli.start(
            "work", "--cpu", "--manager", f"127.0.0.1:{found['port']}", *options,
            output=self._queue.output, SQLQUEUE_TOKEN=self._queue.cli.ok("token").strip(),
        )  # fmt: skip
        self._queue.workers.append(process)
        return process


@pytest.fixture
def elsewhere(queue: Queue, tmp_path: Path) -> Elsewhere:
    return Elsewhere(queue, tmp_path / "elsewhere")


def serve(queue: Queue) -> None:
    queue.manager.start("--host", "127.0.0.1", "--port", "0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no module 'experiments_for_tests'"),
        pytest.param(
            "import not_installed_here",
            "No module named 'not_installed_here'",
            marks=pytest.mark.slow,
        ),
        pytest.param("def add(seed:", "was never closed", marks=pytest.mark.slow),
        pytest.param("def other(seed): ...", "no function 'add' in it", marks=pytest.mark.slow),
        pytest.param("def add(seed): ...", "takes no 'a' any more", marks=pytest.mark.slow),
    ],
    ids=["no module", "its import fails", "broken", "no function", "older than the task"],
)
def test_it_gives_the_tasks_back_and_says_what_to_do(
    queue: Queue, elsewhere: Elsewhere, text: str | None, said: str
) -> None:
    queue.init("add", list(range(12)))
    serve(queue)
    if text is not None:
        (elsewhere.folder / MODULE).write_text(text)
    assert elsewhere.worker("--slots", "2").wait(SECONDS) == 2
    last = [
        line for line in queue.said.splitlines() if line.startswith("error") or "error:" in line
    ][-1]
    for each in (said, str(elsewhere.folder), "experiments_for_tests:add", "git pull"):
        assert each in last
    assert {outcome for _, _, outcome in queue.attempts()} == {"RELEASED"}
    assert len(queue.attempts()) <= 2, "each of its runners asked once"
    assert queue.status()["totals"]["pending"] == 12
    shown = queue.cli.ok("status", COLUMNS="400")
    assert said in shown
    assert "given back, not charged" in shown
    assert queue.work() == 0
    assert len(queue.rows()) == 12
    assert queue.status()["given_back"] == []


def test_others_beside_it_do_them_all(queue: Queue, elsewhere: Elsewhere) -> None:
    queue.init("wait_for_file", [1, 2, 3])
    serve(queue)
    right = queue.worker("cpu=True, slots=2")
    queue.started(1)
    queue.started(2)
    assert elsewhere.worker("--slots", "2").wait(SECONDS) == 2
    queue.go()
    assert right.wait(SECONDS) == 0
    assert len(queue.rows()) == 3
    assert queue.status()["totals"]["failed"] == 0


def test_it_goes_on_with_what_it_can_run(queue: Queue, elsewhere: Elsewhere) -> None:
    queue.init("add", [1, 2, 3])
    (queue.root / "second.py").write_text("def other(seed: int):\n    return {'x': seed}\n")
    sweep = "two: {experiment: 'second:other', output_dir: res2, combinations: [{seed: [1, 2]}]}"
    (queue.root / "second.yaml").write_text(sweep)
    queue.cli.ok("init", "second.yaml")
    (elsewhere.folder / "second.py").write_bytes((queue.root / "second.py").read_bytes())
    serve(queue)
    assert elsewhere.worker().wait(SECONDS) == 2
    done = {(task, outcome) for task, _, outcome in queue.attempts() if task.startswith("two")}
    assert done == {("two_0_1", "COMPLETED"), ("two_1_2", "COMPLETED")}
    assert queue.status()["totals"]["pending"] == 3


def test_told_to_wait_it_waits(queue: Queue, elsewhere: Elsewhere) -> None:
    queue.init("add", [1])
    serve(queue)
    process = elsewhere.worker("--wait")
    wait_until(lambda: queue.attempts(), SECONDS, "its first try")
    assert queue.work() == 0
    assert process.poll() is None
    assert [outcome for _, _, outcome in queue.attempts()] == ["RELEASED", "COMPLETED"]


def test_in_the_root_it_is_a_failure_and_the_sweep_ends(queue: Queue) -> None:
    queue.init("add", [1, 2])
    (queue.root / MODULE).write_text("def add(seed:")
    queue.manager.start()
    assert queue.work() == 0
    assert [outcome for _, _, outcome in queue.attempts()] == ["FAILED"] * 6
    assert queue.status()["totals"]["failed"] == 2


def test_it_is_tried_again_ever_less_often() -> None:
    unable, now, pauses = Unable(Path("/x")), 0.0, []
    for _ in range(9):
        unable.note("a:b", "no module 'a'", now)
        begun = now
        while unable.now(now):
            now += FIRST_SECONDS
        pauses.append(now - begun)
    assert pauses[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert pauses[-1] == LONGEST_SECONDS
    assert unable.now(now - 1) == ["a:b"]
