"""Two of everything, over the real socket of a real manager: commands at once, one result ten times
at once, one name twice, a result that comes when its lease is lost and another was accepted.

What is not here: two managers (`test_takeover_*.py`), the core alone (`test_manager_core.py`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from acceptance import SECONDS, Study

from support import connect, exchange, wait_until

Message = dict[str, Any]
DIRECTORIES = ("a", "b")


BESIDE = pytest.param(True, id="beside a manager", marks=pytest.mark.slow)


@pytest.mark.parametrize("manager_runs", [BESIDE, pytest.param(False, id="alone")])
def test_inits_at_once_of_files_that_overlap(study: Study, manager_runs: bool) -> None:
    """Each cell is one task, linked to all who want it."""
    wanted = {name: list(range(first * 10, first * 10 + 40)) for first, name in enumerate("abcd")}
    files = [study.write(f"{name}.yaml", name, "other", combinations=[{"seed": seeds}])
             for name, seeds in wanted.items()]  # fmt: skip
    if manager_runs:
        study.manager.start()
    commands = [study.cli.start("init", file, output=study.root / f"{file}.said") for file in files]
    ended = [each.wait(SECONDS) for each in commands]
    assert ended == [0] * len(files), [(study.root / f"{file}.said").read_text() for file in files]
    assert study.totals() == {"pending": 70}
    found = study.figures()["directories"]
    assert {each["output_dir"]: each["total"] for each in found} == dict.fromkeys(wanted, 40)
    study.cli.ok("verify")


@pytest.fixture
def asked(study: Study) -> Callable[..., Message]:
    """Asks the manager of a queue of three tasks in two directories; an error fails the test."""
    files = [study.write(f"{name}.yaml", name, "other", combinations=[{"seed": [0, 1, 2]}])
             for name in DIRECTORIES]  # fmt: skip
    study.init(*files)
    study.manager.start()

    def ask(kind: str, **fields: Any) -> Message:
        answer = study.manager.ask({"type": kind, "worker_id": "twin", **fields}, SECONDS)
        assert answer["type"] != "error", answer
        return answer

    return ask


def all_at_once(study: Study, messages: list[Message]) -> list[Message]:
    """Each over a connection of its own, sent when all are connected."""
    ready = threading.Barrier(len(messages))

    def one(message: Message) -> Message:
        with connect(study.manager.socket_path, SECONDS) as connection:
            ready.wait(SECONDS)
            return exchange(connection, message)

    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(one, messages))


def submission(task: Message, value: float, worker: str = "twin", **more: Any) -> Message:
    return {"type": "submit_result", "task_id": task["task_id"], "worker_id": worker,
            "result_data": {"value": value}, **more}  # fmt: skip


def values(study: Study, task: Message) -> list[list[str]]:
    """What stands in each directory for a task."""
    return [[row["value"] for row in study.rows(name) if row["task_id"] == task["task_id"]]
            for name in DIRECTORIES]  # fmt: skip


def test_one_result_ten_times_at_once(study: Study, asked: Callable[..., Message]) -> None:
    task = asked("request_task")
    again = [submission(task, 0.5, attempt=task["attempt"]) for _ in range(10)]
    assert all_at_once(study, again) == [{"type": "ack"}] * 10
    assert values(study, task) == [["0.5"], ["0.5"]]
    assert study.attempts() == ["COMPLETED"]
    study.cli.ok("verify")


@pytest.mark.slow
def test_ten_results_at_once_for_one_task(study: Study, asked: Callable[..., Message]) -> None:
    """One is the row, and the same in both directories; the others, and whose task it was, are
    superseded."""
    task = asked("request_task")
    others = [submission(task, number, f"w{number}") for number in range(10)]
    assert all_at_once(study, others) == [{"type": "ack"}] * 10
    left, right = values(study, task)
    assert left == right
    assert len(left) == 1
    assert Counter(study.attempts()) == {"COMPLETED": 1, "SUPERSEDED": 9 + 1}
    study.cli.ok("verify")


@pytest.mark.usefixtures("asked")
def test_one_name_twice(study: Study) -> None:
    """Two that work under one name get different tasks; a request that is repeated, the same."""
    request = {"type": "request_task", "worker_id": "twin"}
    ids = ["x"] * 5 + ["y"] * 5
    tasks = all_at_once(study, [{**request, "request_id": each} for each in ids])
    (one,), (other,) = ({each["task_id"] for each in half} for half in (tasks[:5], tasks[5:]))
    assert one != other
    found = [submission(task, 0.5, attempt=task["attempt"]) for task in (tasks[0], tasks[-1])]
    assert all_at_once(study, found) == [{"type": "ack"}] * 2
    assert values(study, tasks[0]) == values(study, tasks[-1]) == [["0.5"], ["0.5"]]
    assert study.totals() == {"completed": 2, "pending": 1}
    study.cli.ok("verify")


@pytest.mark.slow
def test_the_second_of_a_name_says_that_it_holds_nothing(
    study: Study, asked: Callable[..., Message]
) -> None:
    """The first one's task runs again; what the first one still brings is not lost."""
    task = asked("request_task")
    asked("announce")
    assert study.totals() == {"pending": 3}
    asked("submit_result", task_id=task["task_id"], attempt=1, result_data={"value": 0.5})
    assert values(study, task) == [["0.5"], ["0.5"]]
    assert study.totals() == {"completed": 1, "pending": 2}
    study.cli.ok("verify")


def test_a_result_after_its_lease_was_lost_and_another_was_accepted(
    study: Study, asked: Callable[..., Message]
) -> None:
    late = asked("request_task", lease_seconds=1.0, worker_id="late")
    wait_until(lambda: study.attempts() == ["LOST"], SECONDS, "the loss of the lease")
    want = {"type": "request_task", "worker_id": "prompt", "want": late["task_id"]}
    prompt = study.manager.ask(want, SECONDS)
    assert (prompt["task_id"], prompt["attempt"]) == (late["task_id"], 2)
    for task, value, worker in ((prompt, 2, "prompt"), (late, 1, "late")):
        answer = study.manager.ask(submission(task, value, worker, attempt=task["attempt"]))
        assert answer == {"type": "ack"}
    assert values(study, late) == [["2"], ["2"]]
    study.cli.ok("verify")
    assert study.totals() == {"completed": 1, "pending": 2}
