"""`status` tells the truth at every moment, in keys that stay; `status` and `verify` only look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from acceptance import SECONDS, Study, snapshot
from sqlalchemy import event, text

from sqlqueue.store import engine
from support import wait_until

NUMBER = (int, float)
NOTHING = type(None)
COUNTS = dict.fromkeys(("total", "pending", "running", "completed", "failed", "cancelled"), int)
MAYBE = (*NUMBER, NOTHING)
TASK = {"task_id": str, "attempt": int, "cancelled": bool, "seconds": NUMBER,
        "left_seconds": MAYBE, "step": MAYBE, "total": MAYBE, "metrics": dict}  # fmt: skip
WORKER = {"worker_id": str, "host": str, "device": str, "worker_type": str, "state": str,
          "drained": bool, "heard_seconds_ago": MAYBE, "tasks": [TASK]}  # fmt: skip
SHAPE = {
    "queue": str,
    "home": str,
    "root": str,
    "as_of": str,
    "manager": {"running": bool, "pid": (int, NOTHING), "host": (str, NOTHING),
                "started_at": (str, NOTHING), "answers": bool},
    "totals": COUNTS,
    "phases": [{"phase": str, **COUNTS, "eta_seconds": MAYBE, "work_seconds": MAYBE,
                "paused": bool, "breaker": NOTHING, "asked_priority": (int, NOTHING)}],
    "directories": [{"output_dir": str, **COUNTS, "rows": int, "trouble": (str, NOTHING),
                     "unsubmitted": int}],
    "workers": [WORKER],
    "failures": [{"error": str, "outcome": str, "kind": str, "count": int, "shared": dict,
                  "task_ids": [str]}],
    "given_back": [{"error": str, "count": int, "task_ids": [str]}],
    "private_copy": bool,
    "unsubmitted": int,
    "set_aside": [str],
    "eta_seconds": MAYBE,
    "work_seconds": MAYBE,
    "done": bool,
    "paused": bool,
    "held": int,
    "rerunning": int,
    "reruns_failed": int,
    "drained": [{"worker": str, "host": str, "device": str, "since": str}],
}  # fmt: skip


def assert_shape(found: Any, shape: Any, where: str = "status") -> None:
    """Exactly these keys, with values of these types."""
    if isinstance(shape, dict):
        assert set(found) == set(shape), where
        for key, each in shape.items():
            assert_shape(found[key], each, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(found, list), where
        for number, value in enumerate(found):
            assert_shape(value, shape[0], f"{where}[{number}]")
    else:
        assert isinstance(found, shape), f"{where}: {found!r}"
        assert shape is not int or not isinstance(found, bool), where


def figures(study: Study) -> dict[str, Any]:
    found = study.figures()
    assert_shape(found, SHAPE)
    for each in (found["totals"], *found["phases"], *found["directories"]):
        assert sum(each[state] for state in COUNTS if state != "total") == each["total"]
    return found


@pytest.fixture
def overlapping(study: Study) -> Study:
    """Three tasks; `shared`, in both phases and directories, is the one with seed 2."""
    study.set_up(study.write("a.yaml", "results_a", "wait", "first", combinations={"seed": [1, 2]}),
               study.write("b.yaml", "results_b", "wait", "second", combinations={"seed": [2, 3]}),
               )  # fmt: skip
    return study


def counted(found: dict[str, Any], group: str, state: str) -> list[int]:
    return [each[state] for each in found[group]]


def test_before_anything_runs(overlapping: Study) -> None:
    found = figures(overlapping)
    assert found["manager"] == {
        "running": False, "pid": None, "host": None, "started_at": None, "answers": False
    }  # fmt: skip
    assert found["home"] == str(overlapping.home.path)
    assert found["root"] == str(overlapping.root)
    assert (found["totals"]["pending"], found["done"], found["eta_seconds"]) == (3, False, None)
    assert [each["phase"] for each in found["phases"]] == ["first", "second"]
    assert counted(found, "phases", "pending") == [2, 2]
    assert [each["output_dir"] for each in found["directories"]] == ["results_a", "results_b"]
    assert counted(found, "directories", "rows") == [0, 0]
    assert found["workers"] == found["failures"] == found["given_back"] == found["set_aside"] == []


def test_while_a_task_runs_and_after_the_manager_was_killed(overlapping: Study) -> None:
    study = overlapping
    study.manager.start()
    idle = figures(study)
    assert study.manager.process is not None
    assert idle["manager"]["running"] is True
    assert idle["manager"]["pid"] == study.manager.process.pid
    assert idle["workers"] == []
    study.worker("--wait")
    study.started(1)
    found = figures(study)
    assert study.totals() == {"running": 1, "pending": 2}
    assert counted(found, "phases", "running") == [1, 0]
    assert counted(found, "directories", "running") == [1, 0]
    (worker,) = found["workers"]
    assert (worker["state"], worker["device"], worker["worker_type"]) == ("running", "cpu", "cpu")
    assert [task["task_id"] for task in worker["tasks"]] == ["first_0_1"]
    study.manager.kill()
    dead = figures(study)
    assert dead["manager"]["running"] is False
    assert dead["totals"] == found["totals"]
    study.manager.start()
    study.go()
    done = wait_until(lambda: complete(study), SECONDS, "all three being completed")
    assert counted(done, "phases", "completed") == [2, 2]
    assert counted(done, "directories", "rows") == [2, 2]
    assert done["eta_seconds"] == 0
    assert wait_until(lambda: figures(study)["workers"][0]["state"] == "idle", SECONDS, "idleness")


def complete(study: Study) -> dict[str, Any] | None:
    found = figures(study)
    return found if found["done"] else None


def test_progress_that_an_experiment_reports_is_shown(overlapping: Study) -> None:
    """With the next heartbeat, of which the worker sends the first one early."""
    study = overlapping
    study.manager.start()
    study.worker()
    study.started(1)
    wait_until(lambda: reported(study) == (3, 7, {"loss": 0.25}), SECONDS, "the progress")
    study.go()
    assert study.worker_ends() == 0


def reported(study: Study) -> tuple[Any, ...]:
    (worker,) = figures(study)["workers"]
    return next(((task["step"], task["total"], task["metrics"]) for task in worker["tasks"]), ())


def test_watch_prints_one_object_per_line(overlapping: Study) -> None:
    output = overlapping.root / "watched"
    watching = overlapping.cli.start(
        "status", "--watch", "--json", "--interval", "0.1", output=output
    )
    overlapping.workers.append(watching)
    wait_until(lambda: output.read_text().count("\n") >= 2, SECONDS, "two looks")
    watching.terminate()
    watching.wait(SECONDS)
    assert_shape(json.loads(output.read_text().splitlines()[0]), SHAPE)


@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.slow), "kill"])
def test_looking_changes_nothing_at_all(study: Study, end: str) -> None:
    """Every name, mode, time and byte in home and directories, the manager being down."""
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1, 2]}),
               study.write("b.yaml", "results_b", "fail", "failing", combinations={"seed": [1]},
                           max_attempts=1))  # fmt: skip
    study.manager.start()
    study.work()
    getattr(study.manager, end)()
    assert study.totals() == {"completed": 2, "failed": 1}
    before = snapshot(study.root)
    for command in (["status"], ["status", "--json"], ["verify"], ["init", "--dry-run", "a.yaml"]):
        study.cli.ok(*command)
        after = snapshot(study.root)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed == set(), command


def test_verify_names_a_row_that_was_changed_by_hand_and_repair_keeps_what_stood_there(
    study: Study,
) -> None:
    study.run(study.write("a.yaml", "results", combinations={"seed": [1, 2]}))
    path = study.root / "results" / "final_results.csv"
    own = path.read_bytes()
    edited = own.replace(b"cnn", b"CNN", 1)
    path.write_bytes(edited)
    done = study.cli("verify")
    assert done.returncode == 1
    assert "results/final_results.csv" in done.stdout
    assert "--repair" in done.stdout
    assert path.read_bytes() == edited
    study.cli.ok("verify", "--repair")
    assert path.read_bytes() == own
    (kept,) = study.figures()["set_aside"]
    assert (study.root / kept).read_bytes() == edited


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_database_damaged_within_is_named(study: Study, command: str) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": list(range(50))}))
    whole = study.home.database.read_bytes()
    study.home.database.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    done = study.cli(command)
    study.home.database.write_bytes(whole)
    assert done.returncode == 2
    assert f"{study.home.database}: is damaged" in done.stderr
    assert "sqlqueue recover FILES..." in done.stderr
    assert "fault" not in done.stderr


def test_ctrl_c_in_the_middle_of_a_look_is_not_a_damaged_database(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1]}))
    reader = engine.open_reader(study.home)

    @event.listens_for(reader, "after_cursor_execute")
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), reader.begin() as connection:
        connection.execute(text("SELECT 1"))
    reader.dispose()
