"""Experiments that fail, die or never end: tried again, charged, explained; neighbours go on."""

from __future__ import annotations

import json

from acceptance import SECONDS, Study, is_gone

from support import wait_until


def test_a_failing_task_is_tried_until_its_attempts_are_used_up(study: Study) -> None:
    sweep = study.write("a.yaml", "results", "fail", combinations={"seed": [7]}, max_attempts=2)
    done = study.cli("run", sweep, seconds=SECONDS)
    assert done.returncode == 1
    assert "nothing can be learnt from 7" in done.stdout + done.stderr
    assert study.runs() == ["7", "7"]
    assert study.attempts() == ["FAILED", "FAILED"]
    assert study.totals() == {"failed": 1}
    (failure,) = study.figures()["failures"]
    assert "ValueError: nothing can be learnt from 7" in failure["error"]
    assert (failure["count"], failure["task_ids"]) == (1, ["grid_0_7"])
    for number in (1, 2):
        log = (study.home.logs / "grid_0_7" / f"{number}.log").read_text()
        assert "these are its last words" in log
        assert "Traceback" in log
        assert "ValueError: nothing can be learnt from 7" in log
    assert study.rows("results") == []


def test_a_task_that_fails_once_completes(study: Study) -> None:
    study.run(study.write("a.yaml", "results", "fail_once", combinations={"seed": [1]}))
    assert study.attempts() == ["FAILED", "COMPLETED"]
    assert [row["value"] for row in study.rows("results")] == ["1"]


def test_a_child_that_falls_harms_neither_worker_nor_neighbours(study: Study) -> None:
    falling = {"combinations": {"seed": [1]}, "max_attempts": 1}
    study.set_up(study.write("a.yaml", "results", "fall", "falling", **falling),
               study.write("b.yaml", "results", combinations={"seed": [1, 2]}))  # fmt: skip
    study.manager.start()
    study.work()
    assert study.totals() == {"completed": 2, "failed": 1}
    (failure,) = study.figures()["failures"]
    assert "SIGSEGV" in failure["error"]
    assert len(study.rows("results")) == 2


def test_a_timeout_ends_the_whole_process_group(study: Study) -> None:
    sweep = study.write(
        "a.yaml", "results", "hang", combinations={"seed": [1]}, max_attempts=1, timeout=1
    )
    study.set_up(sweep)
    study.manager.start()
    study.worker()
    child, grandchild = study.started(1)
    assert study.worker_ends() == 0
    for pid in (child, grandchild):
        wait_until(lambda pid=pid: is_gone(pid), SECONDS, f"the end of {pid}")  # type: ignore[misc]
    assert study.attempts() == ["TIMEOUT"]
    (failure,) = study.figures()["failures"]
    assert failure["error"] == (
        "ran longer than its time limit of 1 s (`timeout` in the sweep file)"
    )
    (found,) = json.loads(study.cli.ok("failures", "--json"))["failures"]
    cure = "set by `timeout` of phase grid, or of another phase that wants this cell"
    assert cure in found["example"]["error"]
    assert "a larger `timeout` in the sweep file" in study.cli.ok("failures")
