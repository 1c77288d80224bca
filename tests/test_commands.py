"""Commands through the real command line and real processes: from the sweep file to the CSV.

What the manual shows is tried as it stands on the page.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from source import REPOSITORY
from sqlqueue.errors import QueueError
from sqlqueue.home import Home
from sqlqueue.plan.command import Command
from sqlqueue.protocol import AddTasks, DescribeExperiments, ExperimentMemory
from sqlqueue.worker.client import Client
from support import Cli, ManagerProcess, stop, wait_until

PAGE = (REPOSITORY / "docs" / "EXPERIMENTS.md").read_text(encoding="utf-8")
SECONDS = 60.0
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""With `python` on it, as where a person starts a script."""


def blocks(title: str, language: str) -> list[str]:
    """The code blocks of a section of the page, its subsections apart."""
    text = re.split(r"^##", PAGE.split(f"# {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def rows(root: Path, folder: str = "results") -> list[dict[str, str]]:
    with (root / folder / "final_results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def sweep(root: Path, command: str, cells: dict[str, Any], **experiment: Any) -> str:
    """Writes a sweep file with one phase and returns its name."""
    defaults = {"output_dir": "results", "experiment": {"command": command, **experiment}}
    text = json.dumps({"defaults": defaults, "one": {"combinations": cells}})
    (root / "sweep.yaml").write_text(text)
    return "sweep.yaml"


def attempts(home: Home) -> list[tuple[str, str | None, str]]:
    """Task, outcome and error of every attempt."""
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as base:
        return base.execute(
            "SELECT task_id, outcome, coalesce(error, '') FROM attempts JOIN tasks "
            "USING (signature) ORDER BY attempts.id"
        ).fetchall()


# --- what the manual shows --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_plain_pytorch_script_of_the_page(cli: Cli, tmp_path: Path) -> None:
    title = "A plain PyTorch script, a sweep in five minutes"
    (program,), (text,) = blocks(title, "python"), blocks(title, "yaml")
    assert "sqlqueue" not in program
    (tmp_path / "digits.py").write_text(program)
    (tmp_path / "digits.yaml").write_text(text)
    (steps,) = re.findall(r"```\n(sqlqueue init --dry-run.*?)```", PAGE, re.DOTALL)
    for step in steps.splitlines():
        cli.ok(*step.split()[1:], seconds=5 * SECONDS, PATH=PATH)
    found = rows(tmp_path, "results/digits")
    assert len(found) == 4
    accuracy = {(row["hidden"], row["seed"]): float(row["accuracy"]) for row in found}
    assert accuracy["64", "1"] > accuracy["8", "1"] > 0.1
    assert "1 new task" not in cli.ok("init", "digits.yaml", PATH=PATH)


def test_the_command_of_the_page_gives_the_script_options_that_it_has(cli: Cli) -> None:
    title = "A plain PyTorch script, a sweep in five minutes"
    (program,), (text,) = blocks(title, "python"), blocks(title, "yaml")
    assert set(re.findall(r"--\w+", text)) <= set(re.findall(r"--\w+", program))
    (cli.root / "digits.yaml").write_text(text)
    assert "4" in cli.ok("init", "--dry-run", "digits.yaml")


def test_the_other_examples_of_the_page(cli: Cli, tmp_path: Path) -> None:
    declared, shell = (text for text in blocks("A command", "yaml") if "experiment:" in text)
    (tmp_path / "declared.yaml").write_text(declared)
    (tmp_path / "shell.yaml").write_text(shell)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(
        "import json, os, sys\nprint(json.dumps({'out': os.path.isdir(sys.argv[6]), 'model_seen': "
        "os.environ['MODEL'], 'threads': os.environ['OMP_NUM_THREADS'], 'lr_seen': sys.argv[4]}))\n"
    )
    cli.ok("run", "declared.yaml", "shell.yaml", seconds=SECONDS, PATH=PATH)
    found = rows(tmp_path)
    sizes = {row["text"]: row["bytes"] for row in found if row["phase"] == "lengths"}
    assert sizes == {"a b": "3", "it's": "4", "": "0"}
    widths = [row for row in found if row["phase"] == "widths"]
    assert len(widths) == 6
    assert {row["model"] for row in widths} == {"mlp", "cnn"}
    for row in widths:
        assert (row["model_seen"], row["threads"]) == (row["model"], "1")
        assert (row["lr_seen"], row["out"], "workers" in row) == ("0.1", "True", False)


# --- its life in the queue --------------------------------------------------------------

HOLD = "sh hold.sh {x}"
SCRIPT = """
echo '{"step": 1, "total": 2, "loss": 0.5}' >> "$SQLQUEUE_PROGRESS"
echo "$$" > "pid-$1"
trap 'echo saved > "$SQLQUEUE_DIRECTORY/ckpt"; exit 0' TERM
while [ ! -e go ]; do sleep 0.05; done
[ -e "$SQLQUEUE_DIRECTORY/ckpt" ] && found=true || found=false
echo "{\\"found\\": $found, \\"attempt\\": $SQLQUEUE_ATTEMPT}"
"""


@pytest.fixture
def held(cli: Cli, tmp_path: Path) -> str:
    """A sweep of two cells whose program waits for the file `go`."""
    (tmp_path / "hold.sh").write_text(SCRIPT)
    name = sweep(tmp_path, HOLD, {"x": ["a b", "-n"]}, name="hold")
    cli.set_up("init", name)
    return name


def test_a_killed_manager_costs_nothing(
    cli: Cli, manager: ManagerProcess, held: str, tmp_path: Path
) -> None:
    assert held
    worker = cli.start("work", "--cpu", "--slots", "2", output=tmp_path / "worker.output")
    try:
        wait_until((tmp_path / "pid--n").exists, SECONDS, "the programs")
        wait_until((tmp_path / "pid-a b").exists, SECONDS, "the programs")
        manager.kill()
        (tmp_path / "go").touch()
        manager.start()
        assert worker.wait(SECONDS) == 0
    finally:
        stop(worker)
    found = {row["x"]: (row["found"], row["attempt"]) for row in rows(tmp_path)}
    assert found == {"a b": ("False", "1"), "-n": ("False", "1")}
    cli.ok("verify")


@pytest.mark.usefixtures("held")
def test_a_worker_that_is_stopped_tells_the_program_and_gives_the_task_back(
    cli: Cli, manager: ManagerProcess, tmp_path: Path
) -> None:
    worker = cli.start("work", "--cpu", output=tmp_path / "worker.output")
    wait_until((tmp_path / "pid-a b").exists, SECONDS, "the program")
    stop(worker)
    assert [outcome for _, outcome, _ in attempts(manager.home)] == ["RELEASED"]
    pid = int((tmp_path / "pid-a b").read_text())
    assert not Path(f"/proc/{pid}").exists()
    (tmp_path / "go").touch()
    cli.ok("work", "--cpu", seconds=SECONDS)
    found = {row["x"]: (row["found"], row["attempt"]) for row in rows(tmp_path)}
    assert found == {"a b": ("True", "2"), "-n": ("False", "1")}
    assert not list((manager.home.path / "attempts").iterdir())


@pytest.mark.usefixtures("held")
def test_what_a_killed_worker_leaves_is_cleared_away(
    cli: Cli, manager: ManagerProcess, tmp_path: Path
) -> None:
    worker = cli.start("work", "--cpu", output=tmp_path / "worker.output")
    wait_until((tmp_path / "pid-a b").exists, SECONDS, "the program")
    worker.kill()
    worker.wait()
    pid = int((tmp_path / "pid-a b").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), SECONDS, "the program's end")
    assert len(list((manager.home.path / "attempts").iterdir())) == 1
    (tmp_path / "go").touch()
    cli.ok("work", "--cpu", seconds=SECONDS)
    assert {row["x"]: row["attempt"] for row in rows(tmp_path)} == {"a b": "2", "-n": "1"}
    assert not list((manager.home.path / "attempts").iterdir())


def test_a_changed_command_is_what_later_attempts_run(
    cli: Cli, manager: ManagerProcess, tmp_path: Path
) -> None:
    cli.set_up("init", sweep(tmp_path, "sh -c 'exit 3'", {"x": [1, 2]}, name="n",
                             parameters={"x": "int"}))  # fmt: skip
    cli.ok("work", "--cpu", seconds=SECONDS)
    failures = attempts(manager.home)
    assert len(failures) == 6
    assert {error.splitlines()[0] for _, _, error in failures} == {
        "the program ended with exit status 3"
    }
    name = sweep(tmp_path, "printf '{{\"y\": %s}}' {x}", {"x": [1, 2]}, name="n",
                 parameters={"x": "int"}, environment={})  # fmt: skip
    text = (tmp_path / name).read_text().replace('"one": {', '"one": {"max_attempts": 4, ')
    (tmp_path / name).write_text(text)
    said = cli.ok("init", name)
    assert "note: n: the command changed: later attempts run the new one" in said
    assert "2 tasks" in said
    cli.ok("work", "--cpu", seconds=SECONDS)
    assert [(row["x"], row["y"]) for row in rows(tmp_path)] == [("1", "1"), ("2", "2")]
    assert "changed" not in cli.ok("init", name)


def test_recover_takes_the_command_from_the_sweep_files(cli: Cli, tmp_path: Path) -> None:
    home = Home(tmp_path / ".sqlqueue")
    name = sweep(tmp_path, "printf '{{\"y\": %s}}' {x}", {"x": [1, 2]}, name="n")
    cli.ok("run", name, seconds=SECONDS)
    before = rows(tmp_path)
    for each in home.path.glob("queue.db*"):
        each.unlink()
    (tmp_path / name).write_text((tmp_path / name).read_text().replace("[1, 2]", "[1, 2, 3]"))
    cli.ok("recover", name, seconds=SECONDS)
    assert rows(tmp_path) == before
    cli.ok("run", name, seconds=SECONDS)
    assert [row["y"] for row in rows(tmp_path)] == ["1", "2", "3"]
    cli.ok("verify")


# --- elsewhere, and who decides what runs -------------------------------------------------


def elsewhere(cli: Cli, manager: ManagerProcess, folder: Path) -> int:
    found = manager.home.manager()
    assert found is not None
    done = Cli(folder, cli.environment)(
        "work", "--cpu", "--manager", f"127.0.0.1:{found['port']}", seconds=SECONDS,
        SQLQUEUE_TOKEN=cli.ok("token").strip(),
    )  # fmt: skip
    (folder / "said").write_text(done.stderr)
    return done.returncode


def test_a_worker_elsewhere_runs_it_in_its_own_folder_or_gives_it_back(
    cli: Cli, manager_process: ManagerProcess, tmp_path: Path
) -> None:
    (tmp_path / "p.sh").write_text('echo "{\\"here\\": \\"$(pwd)\\"}"\n')
    cli.set_up("init", sweep(tmp_path, "sh p.sh {x}", {"x": [1]}, name="n"))
    manager = manager_process.start("--host", "127.0.0.1", "--port", "0")
    bare, full = tmp_path / "bare", tmp_path / "full"
    for folder in (bare, full):
        folder.mkdir()
    (full / "p.sh").write_bytes((tmp_path / "p.sh").read_bytes())
    assert elsewhere(cli, manager, bare) == 2
    assert f"no file {bare}/p.sh" in (bare / "said").read_text()
    assert elsewhere(cli, manager, full) == 0
    assert [outcome for _, outcome, _ in attempts(manager.home)] == ["RELEASED", "COMPLETED"]
    assert rows(tmp_path)[0]["here"] == str(full)


def test_a_worker_adds_and_changes_no_command(
    cli: Cli, manager: ManagerProcess, tmp_path: Path
) -> None:
    """Neither by the owner's message under its own secret, nor in any field of its own."""
    cli.set_up("init", sweep(tmp_path, "printf '{{\"y\": %s}}' {x}", {"x": [1, 2]}, name="n"))
    evil = {"words": ["touch", str(tmp_path / "pwned")], "environment": {}}
    task = manager.ask({"type": "request_task", "worker_id": "w", "command": evil})
    assert task["command"]["words"][0] == "printf"
    who = {"task_id": task["task_id"], "worker_id": "w"}
    result = {"y": 1, "command": json.dumps(evil), "experiment": "n"}
    known = [{"name": "n", "parameters": [], "command": evil}]
    answer = manager.ask({"type": "submit_result", **who, "command": evil, "experiments": known,
                          "result_data": result})  # fmt: skip
    assert answer == {"type": "ack"}
    for extra in ({"command": evil}, {"experiments": known}):
        manager.ask({"type": "heartbeat", "worker_id": "w", "tasks": [], **extra})
    assert json.loads(_stored(manager.home))["words"][0] == "printf"
    cli.ok("work", "--cpu", seconds=SECONDS)
    assert not (tmp_path / "pwned").exists()


def test_the_worker_s_secret_may_not_add_a_command(
    cli: Cli, manager_process: ManagerProcess, tmp_path: Path
) -> None:
    cli.set_up("init", sweep(tmp_path, "printf '{{\"y\": %s}}' {x}", {"x": [1]}, name="n"))
    manager = manager_process.start("--host", "127.0.0.1", "--port", "0")
    before, found = _stored(manager.home), manager.home.manager()
    assert found is not None
    evil = ExperimentMemory(name="n", parameters=[], command=Command(("touch", "pwned"), {}))
    token = cli.ok("token").strip()
    for message in (AddTasks(tasks=[], experiments=[evil]), DescribeExperiments(names=[])):
        address = f"127.0.0.1:{found['port']}"
        with Client(address=address, token=token) as client, pytest.raises(QueueError) as refused:
            client.request(message)
        assert refused.value.code == "not_authorised", refused.value
    assert _stored(manager.home) == before


def _stored(home: Home) -> str:
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as base:
        (found,) = base.execute("SELECT command FROM experiments WHERE name = 'n'").fetchone()
    return str(found)
