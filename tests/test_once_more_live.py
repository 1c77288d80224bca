"""Once more, for real: wrong code, a sweep with it, the code mended, and every row replaced.

Through the command line, a manager, workers and their children.  What is not here: what a verb
does to which task (`test_once_more.py`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance import SECONDS, Study

from sqlqueue.worker import code
from support import wait_until

WRONG = """
import pathlib
import threading

import helping


def train(seed: int, run=None):
    kept = run.directory / "checkpoint"
    begun = kept.read_text() if kept.exists() else "anew"
    kept.write_text("of before")
    return {"value": helping.value(seed), "begun": begun}


def wait(seed: int, run=None):
    pathlib.Path(f"began-{seed}-{run.directory.name}").touch()
    while not pathlib.Path("go").exists() and not run.should_stop():
        threading.Event().wait(0.02)
    return {"value": helping.value(seed)}
"""
HELPING = "def value(seed):\n    return seed {} 10\n"


def study_of(study: Study, function: str = "train") -> list[str]:
    """Two figures that share two cells; the code in `helping.py` is wrong."""
    (study.root / "work.py").write_text(WRONG)
    (study.root / "helping.py").write_text(HELPING.format("+"))
    names = []
    for name, seeds in (("one", [1, 2, 3]), ("two", [2, 3, 4])):
        sweep = {"experiment": f"work:{function}", "output_dir": f"results_{name}",
                 "combinations": {"seed": seeds}}  # fmt: skip
        (study.root / f"{name}.yaml").write_text(json.dumps({name: sweep}))
        names.append(f"{name}.yaml")
    return names


def mend(study: Study) -> None:
    """Of another size: Python takes a file of the same second and size for what it compiled."""
    (study.root / "helping.py").write_text(HELPING.format("* 1 *"))


def values(study: Study, name: str) -> dict[int, int]:
    """By seed; a seed has one row."""
    rows = study.rows(f"results_{name}")
    assert len({row["seed"] for row in rows}) == len(rows)
    return {int(row["seed"]): int(row["value"]) for row in rows}


def test_from_wrong_code_to_rows_replaced_in_both_directories(study: Study) -> None:
    files = study_of(study)
    study.set_up(*files)
    study.manager.start()
    study.work()
    assert values(study, "one") == {1: 11, 2: 12, 3: 13}
    assert "other code" not in study.init(*files)
    mend(study)
    planned = study.cli.ok("init", "--dry-run", *files)
    said = study.init(*files)
    assert [each for each in said.splitlines() if "other code" in each] == [
        each for each in planned.splitlines() if "other code" in each
    ]
    found = re.findall(r"note: (\w+): (\d) completed with other code .*`sqlqueue (.*)`", said)
    assert [each[:2] for each in found] == [("one", "3"), ("two", "3")]
    before = values(study, "one"), values(study, "two")
    asked = study.cli(*found[0][2].split())
    assert asked.returncode == 2
    assert "run 3 completed tasks once more" in asked.stderr
    assert "Set to run once more: 3 tasks" in study.cli.ok(*found[0][2].split(), "--yes")
    assert (values(study, "one"), values(study, "two")) == before
    assert study.totals() == {"pending": 3, "completed": 1}
    assert "once more: 3 tasks" in study.cli.ok("status")
    study.work()
    assert values(study, "one") == {1: 10, 2: 20, 3: 30}
    assert values(study, "two") == {2: 20, 3: 30, 4: 14}
    assert all(row["begun"] == "anew" for row in study.rows("results_one"))
    said = study.init(*files)
    assert re.search(r"note: two: 1 completed with other code", said)
    assert "note: one:" not in said
    row = study.rows("results_two")[0]
    for name in (row["task_id"], row["signature"], row["signature"][:8]):
        told = json.loads(study.cli.ok("show", name, "--json"))
        assert [each["outcome"] for each in told["attempts"]] == ["SUPERSEDED", "COMPLETED"]
    old, new = told["attempts"]
    assert old["code_version"] != new["code_version"]
    assert {"python", "sqlqueue"} <= set(new["versions"])
    assert told["directories"] == [
        {"output_dir": "results_one", "row": 2}, {"output_dir": "results_two", "row": 1},
    ]  # fmt: skip
    shown = study.cli.ok("show", row["task_id"])
    assert "its result stands in the CSVs" in shown
    assert "another result, of attempt 1, differs in 1 metric" in shown


@pytest.mark.slow
def test_a_repository_with_a_change_that_is_not_committed(study: Study) -> None:
    (file, _) = study_of(study)

    def git(*arguments: str) -> None:
        own = ["-c", "user.name=n", "-c", "user.email=e@e", "-C", str(study.root)]
        subprocess.run(["git", *own, *arguments], check=True, capture_output=True)

    git("init")
    git("add", "work.py", "helping.py")
    git("commit", "-m", "one")
    study.run(file)
    clean = code.version(study.root, [study.root / "work.py", study.root / "helping.py"])
    (study.root / "notes.txt").write_text("not code")
    assert "other code" not in study.init(file)
    mend(study)
    said = study.init(file)
    assert f"3 completed with other code ({clean}; now {clean}+" in said
    assert f"`sqlqueue rerun phase=one code={clean}`" in said
    git("commit", "-am", "mended")
    assert re.search(rf"\({clean}; now (?!{clean})[0-9a-f]{{10}}\)", study.init(file))
    study.cli.ok("rerun", "phase=one", f"code={clean}", "--yes")
    study.run(file)
    assert values(study, "one") == {1: 10, 2: 20, 3: 30}
    assert "other code" not in study.init(file)
    assert "No task matches" in study.cli.ok("rerun", f"code={clean}", "--yes")


@pytest.mark.slow
def test_a_worker_killed_while_it_runs_once_more_loses_nothing(study: Study) -> None:
    (file, _) = study_of(study, "wait")
    study.go()
    study.run(file)
    before = values(study, "one")
    mend(study)
    (study.root / "go").unlink()
    study.cli.ok("rerun", "--all", "--yes")
    study.manager.start()
    worker = study.worker()
    wait_until(lambda: list(study.root.glob("began-*-*-1")), SECONDS, "the run once more")
    study.manager.kill()
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert values(study, "one") == before
    assert "goes on after" not in study.cli("verify").stdout
    study.go()
    study.manager.start()
    study.work()
    assert values(study, "one") == {1: 10, 2: 20, 3: 30}


def test_show_and_rerun_say_what_is_wrong(study: Study) -> None:
    (file, _) = study_of(study)
    study.set_up(file)
    for words, why in {
        ("show", "nothing"): "no task 'nothing'",
        ("show", "abc"): "at least 8 characters",
        ("rerun",): "no task is selected",
        ("rerun", "code>1"): "code takes =",
    }.items():
        done = study.cli(*words)
        assert done.returncode == 2, words
        assert why in done.stderr
    assert "No task matches" in study.cli.ok("rerun", "state=completed")


@pytest.mark.slow
def test_a_command_s_own_file_is_its_code(study: Study) -> None:
    script = study.root / "train.py"
    script.write_text("print('{\"value\": 1}')\n")
    sweep = {"experiment": {"command": f"{sys.executable} train.py"}, "output_dir": "results",
             "combinations": {"seed": [1]}}  # fmt: skip
    (study.root / "c.yaml").write_text(json.dumps({"c": sweep}))
    study.run("c.yaml")
    assert "other code" not in study.init("c.yaml")
    script.write_text("print('{\"value\": 2}')\n")
    assert "1 completed with other code" in study.init("c.yaml")
    study.cli.ok("rerun", "--all", "--yes")
    study.run("c.yaml")
    assert [row["value"] for row in study.rows("results")] == ["2"]
    assert "other code" not in study.init("c.yaml")


PAGE = Path(__file__).parent.parent / "docs" / "COMMANDS.md"
WROTE, NOW = "files-2d7c0b1e", "files-90aa31c4"
"""How the page calls the wrong code, and the mended one."""


def test_the_example_of_the_page(study: Study) -> None:
    """Every command of it is run; what it says stands in what is printed."""
    study_of(study)
    sweep = {"experiment": "work:train", "output_dir": "results",
             "combinations": {"seed": [1, 2, 3]}}  # fmt: skip
    (study.root / "figure.yaml").write_text(json.dumps({"figure": sweep}))
    sources = [study.root / "work.py", study.root / "helping.py"]
    wrong = code.version(study.root, sources)
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [each for each in blocks if "sqlqueue rerun" in each]
    steps = re.findall(r"^\$ sqlqueue (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert len(steps) == 6
    mended = ""
    for words, said in steps:
        names = {WROTE: wrong, NOW: mended}
        command = words.replace(WROTE, wrong)
        printed = study.cli.ok(*command.split(), seconds=SECONDS)
        for name, real in names.items():
            said = said.replace(name, real)
        assert said in printed, (said, printed)
        if not mended:
            mend(study)
            mended = code.version(study.root, sources)
