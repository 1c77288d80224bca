"""Plan before you pay: what `init` is about to do, what is in no file any more, and pruning it.

Through the command line, on real queues.  What is not here: how long it will take
(`test_forecast.py`, `test_verbs_eta.py`), adding (`test_cli_queue.py`).
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
from itertools import product
from typing import Any

import pytest
from acceptance import SECONDS, Study, snapshot

from support import later, sqlqueue_command


def table(text: str) -> dict[str, dict[str, str]]:
    """The table that `init` prints, by phase and column; the columns are known by where they end,
    as all but the first are flush right."""
    head, *rows = text.split("\n\n")[0].splitlines()
    titles = [each for each in ("CELLS", "NEW", "SHARED", "COMPLETED", "GONE", "WORK")
              if each in head]  # fmt: skip
    ends = [head.index(each) + len(each) for each in titles]
    return {
        row.split()[0]: {
            title: row[begin:end].split()[-1] if row[begin:end].strip() else ""
            for title, begin, end in zip(titles, [len(row.split()[0]), *ends], ends, strict=False)
        }
        for row in rows
    }


def sweep(study: Study, name: str, phase: str = "grid", **axes: Any) -> str:
    return study.write(f"{name}.yaml", f"results_{name}", phase=phase, combinations=axes)


# --- the plan -----------------------------------------------------------------------------


def test_the_plan_says_what_is_new_shared_done_gone_and_how_long_it_takes(study: Study) -> None:
    study.run(sweep(study, "a", width_factor=[1, 2], seed=[1, 2]))
    files = (
        sweep(study, "a", width_factor=[2, 4], seed=[1, 2]),
        sweep(study, "b", "other", width_factor=[2, 4, 8], seed=[1, 2]),
    )
    before = snapshot(study.root)
    plan = study.cli.ok("init", "--dry-run", *files)
    assert snapshot(study.root) == before
    found = table(plan)
    grid = {"CELLS": "4", "NEW": "2", "SHARED": "0", "COMPLETED": "2", "GONE": "2"}
    other = {"CELLS": "6", "NEW": "2", "SHARED": "4", "COMPLETED": "2", "GONE": ""}
    assert {name: each.pop("WORK") for name, each in found.items()} == dict.fromkeys(
        ("grid", "other", "all"), "0s"
    )
    assert (found["grid"], found["other"]) == (grid, other)
    assert "4 new tasks: about 0s of device time" in plan
    assert "other shares cells with grid (4)" in plan
    assert "In no file any more: 2 cells, of which 0 wait" in plan
    told = json.loads(study.cli.ok("init", "--dry-run", "--json", *files))
    assert snapshot(study.root) == before
    assert told["dry_run"] is True and told["pruned"] is None
    one, two = told["phases"]
    assert (one["phase"], one["new"], one["gone"]) == ("grid", 2, {"completed": 2})
    assert (two["new"], two["foreseen"], two["shared_with"]) == (2, 2, {"grid": 4})
    done = study.init(*files)
    assert table(done) == table(plan)
    assert "other shares cells with grid (4)" in done


def test_how_long_it_takes_is_unknown_until_something_is_known(study: Study) -> None:
    plan = study.cli.ok("init", "--dry-run", sweep(study, "a", seed=[1, 2]))
    assert "2 new tasks; how long they take is not known yet" in plan
    assert "WORK" not in plan
    assert "time left not known yet" not in plan


def test_of_two_experiments_one_may_be_unknown(study: Study) -> None:
    study.run(sweep(study, "a", seed=[1]))
    other = study.write("b.yaml", "results_b", "other", "rest", combinations={"seed": [1, 2, 3]})
    plan = study.cli.ok("init", "--dry-run", sweep(study, "a", seed=[1, 2]), other)
    assert (table(plan)["grid"]["WORK"], table(plan)["rest"]["WORK"]) == ("0s", "?")
    assert "about 0s of device time and 3 tasks of which nothing is known yet" in plan


# --- what is gone, and pruning --------------------------------------------------------------


def test_prune_withdraws_what_waits_and_no_file_wants(study: Study) -> None:
    """A completed cell stays, one that another phase wants goes on, and it all comes back."""
    study.set_up(sweep(study, "a", seed=[1, 2, 3, 4]), sweep(study, "b", "other", seed=[4, 5]))
    study.manager.start()
    taken = study.manager.ask({"type": "request_task", "worker_id": "w"})
    done = {"task_id": taken["task_id"], "worker_id": "w", "result_data": {"value": 1}}
    assert study.manager.ask({"type": "submit_result", **done}) == {"type": "ack"}
    files = sweep(study, "a", seed=[2]), "b.yaml"
    for plan in (study.cli.ok("init", "--dry-run", *files), study.init(*files)):
        assert table(plan)["grid"]["GONE"] == "3"
        assert "In no file any more: 3 cells, of which 2 wait; `init --prune` withdraws" in plan
    assert study.totals() == {"completed": 1, "pending": 4}
    refused = study.cli("init", "--prune", *files)
    assert refused.returncode == 2
    question = "withdraw 2 cells that wait and no file wants any more (phases: grid (2))"
    assert f"{question}: say --yes" in refused.stderr
    assert study.totals() == {"completed": 1, "pending": 4}
    assert "Withdrawn: 2 cells" in study.cli.ok("init", "--prune", "--yes", *files)
    assert study.totals() == {"completed": 1, "pending": 3, "cancelled": 1}
    wants = {each["phase"]: each["total"] for each in study.figures()["phases"]}
    assert wants == {"grid": 2, "other": 2}
    assert "GONE" in study.cli.ok("init", "--prune", "--yes", *files)  # the completed one
    back = study.init(sweep(study, "a", seed=[1, 2, 3, 4]))
    assert "Tried again, failed or cancelled before: 1 task" in back
    assert study.totals() == {"completed": 1, "pending": 4}


def test_prune_gives_up_a_rerun_and_keeps_its_result(study: Study) -> None:
    """What was completed is never cancelled: its row stays, and `verify` has nothing to say."""
    study.set_up(sweep(study, "a", seed=[1, 2]))
    study.manager.start()
    taken = study.manager.ask({"type": "request_task", "worker_id": "w"})
    done = {"task_id": taken["task_id"], "worker_id": "w", "result_data": {"value": 1}}
    assert study.manager.ask({"type": "submit_result", **done}) == {"type": "ack"}
    study.cli.ok("rerun", taken["task_id"], "--yes")
    study.cli.ok("init", "--prune", "--yes", sweep(study, "a", seed=[2]))
    assert study.totals() == {"completed": 1, "pending": 1}
    assert study.cli("verify").returncode == 0
    assert len(study.rows("results_a")) == 1


def test_prune_asks_a_person(study: Study) -> None:
    study.set_up(sweep(study, "a", seed=[1, 2, 3]))
    name = sweep(study, "a", seed=[1])
    assert "nothing was withdrawn" in answered(study, b"n\n", name)
    assert study.totals() == {"pending": 3}
    assert "Withdrawn: 2 cells" in answered(study, b"what?\nyes\n", name)
    assert study.totals() == {"pending": 1, "cancelled": 2}


def answered(study: Study, answer: bytes, name: str) -> str:
    """What `init --prune` says on a terminal where a person answers so."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        sqlqueue_command("init", "--prune", name), cwd=study.root, env=study.cli.environment,
        stdin=follower, stdout=subprocess.PIPE, stderr=follower,
    ) as process:  # fmt: skip
        os.close(follower)
        os.write(leader, answer)
        said, _ = process.communicate(timeout=SECONDS)
    os.close(leader)
    assert process.returncode == 0
    return said.decode()


def test_what_runs_is_left_alone(study: Study) -> None:
    study.set_up(sweep(study, "a", seed=[1, 2]))
    study.manager.start()
    study.manager.ask({"type": "request_task", "worker_id": "w"})
    said = study.cli.ok("init", "--prune", "--yes", sweep(study, "a", seed=[7]))
    assert "Withdrawn: 1 cell that no file wants any more" in said
    assert study.totals() == {"running": 1, "cancelled": 1, "pending": 1}


def test_a_phase_in_two_files_is_judged_when_both_are_given(study: Study) -> None:
    both = sweep(study, "a", seed=[1, 2]), sweep(study, "b", seed=[3, 4])
    study.set_up(*both)
    plan = study.cli.ok("init", "--dry-run", "a.yaml")
    assert "GONE" not in plan
    assert "note: phase grid stands in b.yaml too" in plan
    study.cli.ok("init", "--prune", "--yes", "a.yaml")
    assert study.totals() == {"pending": 4}
    sweep(study, "b", seed=[3])
    assert "of which 1 wait" in study.cli.ok("init", "--dry-run", *both)
    assert "Withdrawn: 1 cell" in study.cli.ok("init", "--prune", "--yes", *both)


def test_a_phase_that_left_its_file_or_whose_file_is_gone_is_in_no_file(study: Study) -> None:
    study.set_up(sweep(study, "a", "left", seed=[1]), sweep(study, "b", "stays", seed=[2]),
                 sweep(study, "c", "lost", seed=[3, 4]))  # fmt: skip
    (study.root / "c.yaml").unlink()
    files = sweep(study, "a", "new", seed=[9]), "b.yaml"
    plan = study.cli.ok("init", "--dry-run", *files)
    assert {name: each.get("GONE") for name, each in table(plan).items()} == {
        "new": "", "stays": "", "left": "1", "lost": "2", "all": "3"
    }  # fmt: skip
    study.init(*files)
    study.cli.ok("init", "--prune", "--yes", *files)
    assert study.totals() == {"pending": 2, "cancelled": 3}


def test_a_file_that_was_not_given_is_nothing_to_prune(study: Study) -> None:
    study.set_up(sweep(study, "a", seed=[1]), sweep(study, "b", "other", seed=[2]))
    said = study.cli.ok("init", "--prune", "--yes", "a.yaml")
    assert "Withdrawn" not in said and "note" not in said
    assert study.totals() == {"pending": 2}


# --- a study ------------------------------------------------------------------------------


Cells = set[tuple[Any, ...]]
WIDTHS, SEEDS, SETS, MODELS = range(1, 9), range(25), ["mnist", "cifar10"], ["lr", "cnn"]
FIVE: dict[str, dict[str, Any]] = {
    "width": {"width_factor": list(WIDTHS), "seed": list(SEEDS), "dataset": SETS},
    "model": {"model_type": MODELS, "seed": list(SEEDS), "dataset": SETS, "width_factor": [4, 8]},
    "many": {"seed": list(range(400)), "width_factor": 4},
    "wide": {"width_factor": list(range(4, 20)), "seed": list(range(50))},
    "twice": {"width_factor": [1, 2], "seed": list(range(100)), "model_type": MODELS},
}


def enumerated(axes: dict[str, Any]) -> Cells:
    """The cells of a phase, by hand: (seed, width, data set, model)."""
    usual = {"seed": 42, "width_factor": 1, "dataset": "mnist", "model_type": "cnn"}
    values = [axes.get(name, value) for name, value in usual.items()]
    return set(product(*(each if isinstance(each, list) else [each] for each in values)))


def expected(phases: dict[str, dict[str, Any]], known: Cells, firsts: dict[Any, str]) -> Any:
    """What `init` is to say of each phase; notes in `firsts` where each cell appeared first."""
    found = {}
    for name, axes in phases.items():
        cells = enumerated(axes)
        new = cells - known
        shared = {each for each in cells - new if firsts[each] != name}
        firsts.update(dict.fromkeys(new, name))
        known |= new
        found[name] = (len(cells), len(new), len(shared))
    return found


def said(text: str) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(int(row[each].replace(",", "")) for each in ("CELLS", "NEW", "SHARED"))
        for name, row in table(text).items()
        if name != "all"
    }


def test_a_study_of_2000_cells_agrees_with_an_independent_enumeration(study: Study) -> None:
    known: Cells = set()
    firsts: dict[Any, str] = {}
    files = [sweep(study, name, name, **axes) for name, axes in FIVE.items()]
    first = expected(FIVE, known, firsts)
    assert len(known) > 1500 and sum(cells for cells, _, _ in first.values()) > 2000
    assert said(study.cli.ok("init", "--dry-run", *files)) == first
    assert said(study.init(*files)) == first
    assert said(study.init(*files)) == expected(FIVE, known, firsts)
    grown = FIVE | {"width": FIVE["width"] | {"width_factor": [*WIDTHS, 9]}}
    files[0] = sweep(study, "width", "width", **grown["width"])
    assert said(study.init(*files)) == expected(grown, known, firsts)
    less = grown | {"wide": {"width_factor": list(range(4, 10)), "seed": list(range(50))}}
    files[3] = sweep(study, "wide", "wide", **less["wide"])
    gone = enumerated(FIVE["wide"]) - enumerated(less["wide"])
    text = study.cli.ok("init", "--prune", "--yes", *files)
    assert f"Withdrawn: {len(gone)} cells" in text
    wanted: Cells = set().union(*map(enumerated, less.values()))
    assert study.totals() == {"pending": len(wanted), "cancelled": len(known - wanted)}
    totals = {each["phase"]: each["total"] for each in study.figures()["phases"]}
    assert totals == {name: len(enumerated(axes)) for name, axes in less.items()}


@pytest.mark.parametrize("workers", later(1, 3))
def test_a_small_run_takes_about_as_long_as_was_said(study: Study, workers: int) -> None:
    """Cells that differ by forty, of a function that declares no cost, the smallest first: from
    the first on whose size differs by more than four from the smallest."""
    axes = {"size": [1, 2, 5, 10, 20, 40], "seed": [1, 2, 3, 4]}
    study.set_up(study.write("a.yaml", "results", "linger", combinations=axes))
    study.manager.start()
    study.worker("--slots", str(workers))
    left = {}
    while not (found := study.figures())["done"]:
        if found["eta_seconds"] is not None and found["workers"]:
            left[found["totals"]["completed"]] = (found["eta_seconds"], now())
    end = now()
    checked = [(eta, end - at) for done, (eta, at) in left.items() if 9 <= done <= 18]
    assert len(checked) >= 5
    assert all(truth / 2 - 0.5 <= eta <= truth * 2 + 0.5 for eta, truth in checked), checked
    assert study.worker_ends() == 0


def now() -> float:
    import time

    return time.monotonic()


def test_the_files_that_were_given_are_remembered_as_they_lie(study: Study) -> None:
    """Named from wherever: a file is the same file."""
    study.set_up(sweep(study, "a", seed=[1, 2]))
    sweep(study, "a", seed=[1])
    absolute = str(study.root / "a.yaml")
    assert "of which 1 wait" in study.cli.ok("init", "--dry-run", absolute)
    assert json.loads(study.cli.ok("status", "--json"))["totals"]["pending"] == 2
