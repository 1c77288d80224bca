"""`init`, `status`, `verify` and `token` on a real queue, as whole processes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

import pytest
from cli_queue import Place, place

from conftest import Audits
from sqlqueue import batches as batching
from sqlqueue import contact, initialise, progress
from sqlqueue.errors import Interrupted, ManagerRunning, MessageTooLarge
from sqlqueue.home_lock import HomeLock
from sqlqueue.plan.task import Signature, Task
from sqlqueue.protocol import MAX_MESSAGE_BYTES, AddTasks, ExperimentMemory, encode
from support import Cli, ManagerProcess, wait_until


@pytest.fixture
def here(tmp_path: Path, cli: Cli) -> Place:
    return place(tmp_path, cli)


def table(text: str) -> dict[str, list[int]]:
    """The figures of the table that `init` prints, by phase."""
    rows = (line.split() for line in text.split("\n\n")[0].splitlines()[1:])
    return {name: [int(each.replace(",", "")) for each in row] for name, *row in rows}


# --- init ---------------------------------------------------------------------------


def test_cells_new_shared_and_completed(here: Place) -> None:
    one, two = here.sweep("a.yaml", "res_a"), here.sweep("b.yaml", "res_b", "two", widths=(4, 9))
    text = here.cli.ok("init", one, two)
    assert table(text) == {"one": [4, 4, 0, 0], "two": [4, 2, 2, 0], "all": [8, 6, 2, 0]}
    assert "6 new tasks" in text
    again = here.cli.ok("init", one, two)
    assert table(again) == {"one": [4, 0, 0, 0], "two": [4, 0, 2, 0], "all": [8, 0, 2, 0]}
    assert "Nothing new" in again


def test_a_dry_run_says_the_same_and_writes_nothing(here: Place) -> None:
    files = here.sweep("a.yaml", "res_a"), here.sweep("b.yaml", "res_b", "two", widths=(4, 9))
    before = here.tree()
    dry = here.cli.ok("init", "--dry-run", *files)
    assert here.tree() == before
    assert "nothing was written (2 output directories)" in dry
    assert table(dry) == table(here.cli.ok("init", *files))


def test_a_dry_run_on_a_queue_leaves_its_database_alone(here: Place) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    more = here.sweep("b.yaml", "res_b", "two", widths=(4, 9))
    before = here.cli.ok("status", "--json")
    assert table(here.cli.ok("init", "--dry-run", more)) == {"two": [4, 2, 2, 0]}
    assert without_time(here.cli.ok("status", "--json")) == without_time(before)
    assert not (here.root / "res_b").exists()


def without_time(text: str) -> str:
    return re.sub(r'"as_of": "[^"]*"', "", text)


def test_init_goes_through_the_manager_that_runs(here: Place, manager: ManagerProcess) -> None:
    assert manager.process is not None
    files = here.sweep("a.yaml", "res_a"), here.sweep("b.yaml", "res_b", "two", widths=(4, 9))
    assert table(here.cli.ok("init", "--dry-run", *files))["all"] == [8, 6, 2, 0]
    assert table(here.cli.ok("init", *files))["all"] == [8, 6, 2, 0]
    assert json.loads(here.cli.ok("status", "--json"))["manager"]["running"]


def test_a_file_with_a_mistake_adds_nothing_of_the_others(here: Place) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    good = here.sweep("b.yaml", "res_b", "two", widths=(9,))
    bad = here.sweep("c.yaml", "res_c/{widht}", "three")
    before = without_time(here.cli.ok("status", "--json"))
    done = here.cli("init", good, bad)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"c\.yaml:4: .*widht.*width", done.stderr)
    assert without_time(here.cli.ok("status", "--json")) == before
    assert not (here.root / "res_b").exists()


def test_a_foreign_csv_stops_init_and_can_be_set_aside(here: Place) -> None:
    file = here.sweep("a.yaml", "res_a")
    csv = here.root / "res_a" / "final_results.csv"
    csv.parent.mkdir()
    csv.write_text("mine\n1\n")
    done = here.cli("init", file)
    assert done.returncode == 2
    assert "error: res_a: has a final_results.csv" in done.stderr
    assert "--set-aside" in done.stderr
    assert csv.read_text() == "mine\n1\n"
    assert "set aside: res_a/" in here.cli.ok("init", "--set-aside", file)
    kept = [each.read_text() for each in csv.parent.iterdir() if each.is_file()]
    assert "mine\n1\n" in kept


def test_folders_outside_the_root_are_named(
    here: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("scratch")
    told = f"note: output directories outside {here.root}: {elsewhere}"
    assert told in here.cli.ok("init", "--dry-run", here.sweep("a.yaml", str(elsewhere)))
    assert not list(elsewhere.iterdir())
    done = here.cli("init", "a.yaml")
    assert told in done.stderr, "on standard error, and before anything was written there"
    (elsewhere / ".sqlqueue.json").write_text('{"format": 1, "queue": "another"}')


def test_a_default_that_changed_is_told(here: Place) -> None:
    file = here.sweep("a.yaml", "res_a")
    (here.root / file).write_text((here.root / file).read_text().split("    - width")[0])
    here.cli.ok("init", file)
    module = here.root / "trial.py"
    # Of another size: Python tells a changed source by seconds and size.
    module.write_text(module.read_text().replace("width: int = 4", "width: int = 15"))
    said = "note: trial:train: default of `width` changed from 4 to 15"
    assert said in here.cli.ok("init", "--dry-run", file)
    text = here.cli.ok("init", file)
    assert said in text
    assert table(text) == {"one": [2, 2, 0, 0, 2]}  # those of the old default are gone


def test_a_second_init_waits_for_the_first(here: Place, audit_on_exit: Audits) -> None:
    audit_on_exit(here.home)
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    output = here.root / "second.txt"
    with HomeLock(here.home, "a command"):
        second = here.cli.start("init", here.sweep("b.yaml", "res_b", "two"), output=output)
        wait_until(lambda: "waiting for it" in output.read_text(), 20, "the notice")
        assert second.poll() is None
    assert second.wait(20) == 0
    assert "Nothing new" in output.read_text()


def test_waiting_has_an_end(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    monkeypatch.setattr(contact, "PATIENCE_SECONDS", 0.0)
    said: list[str] = []
    with (
        HomeLock(here.home, "a command"),
        pytest.raises(ManagerRunning, match="in use by"),
        contact.owner(here.home, said.append),
    ):
        raise AssertionError("the lock is held")
    assert said == ["another command is changing this queue: waiting for it to finish"]


def test_ctrl_c_between_batches_leaves_whole_batches(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.root)
    whole = initialise.batches

    def small(
        tasks: Iterable[Task], memories: dict[str, ExperimentMemory], given: int, alone: bool
    ) -> Iterator[AddTasks]:
        return interrupted(whole(tasks, memories, given, alone))

    monkeypatch.setattr(batching, "BATCH_TASKS_ALONE", 2)
    monkeypatch.setattr(initialise, "batches", small)
    file = here.root / here.sweep("a.yaml", "res_a", seeds=tuple(range(10)))
    with pytest.raises(Interrupted, match="4 of 20 cells are in the queue; run the same"):
        initialise.initialise(here.home, [file], print, progress.shown)
    monkeypatch.undo()
    assert table(here.cli.ok("init", "a.yaml")) == {"one": [20, 16, 0, 0]}


def interrupted(messages: Iterable[AddTasks]) -> Iterator[AddTasks]:
    """Ctrl-C while the second batch is added."""
    for number, message in enumerate(messages, 1):
        yield message
        if number == 2:
            signal.raise_signal(signal.SIGINT)


def tasks(count: int, note: str) -> list[Task]:
    return [
        Task(Signature(f"{n:032x}"), "p", "e", {"note": note, "n": n}, "out") for n in range(count)
    ]


MEMORY = {"e": ExperimentMemory(name="e", parameters=[])}


def test_batches_are_full_but_never_too_long() -> None:
    found = list(batching.batches(tasks(2 * batching.BATCH_TASKS + 500, ""), MEMORY))
    most = batching.BATCH_TASKS
    assert [len(each.tasks) for each in found] == [most, most, 500]
    long = list(batching.batches(tasks(20, "x" * (1024 * 1024)), MEMORY))
    assert [task.parameters["n"] for each in long for task in each.tasks] == list(range(20))
    assert max(len(encode(each)) for each in long) <= MAX_MESSAGE_BYTES
    assert all(isinstance(each, AddTasks) and each.experiments == [MEMORY["e"]] for each in long)


@pytest.mark.parametrize("alone", [False, True])
def test_a_cell_that_no_message_holds_is_refused(alone: bool) -> None:
    with pytest.raises(MessageTooLarge, match="phase 'p'"):
        list(batching.batches(tasks(1, "x" * MAX_MESSAGE_BYTES), MEMORY, alone=alone))


# --- status -------------------------------------------------------------------------


KEYS = {
    "queue": str, "home": str, "root": str, "as_of": str, "manager": dict, "totals": dict,
    "phases": list, "directories": list, "workers": list, "failures": list, "given_back": list,
    "unsubmitted": int, "set_aside": list, "eta_seconds": (float, int, type(None)),
    "work_seconds": (float, int, type(None)), "done": bool, "rerunning": int,
    "reruns_failed": int, "paused": bool, "held": int, "drained": list, "private_copy": bool,
}  # fmt: skip


@pytest.mark.parametrize("running", [False, True])
def test_the_json_is_as_described(
    here: Place, manager_process: ManagerProcess, running: bool
) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    if running:
        manager_process.start()
    status = json.loads(here.cli.ok("status", "--json"))
    assert list(status) == list(KEYS)
    assert all(isinstance(status[key], kind) for key, kind in KEYS.items())
    assert status["manager"]["running"] is running
    assert status["totals"] == {"total": 4, "pending": 4, "running": 0, "completed": 0,
                                "failed": 0, "cancelled": 0}  # fmt: skip
    assert [each["phase"] for each in status["phases"]] == ["one"]
    assert [each["output_dir"] for each in status["directories"]] == ["res_a"]


@pytest.mark.parametrize("running", [False, True])
def test_status_changes_nothing(
    here: Place, manager_process: ManagerProcess, running: bool
) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    if running:
        manager_process.start()
    before = database(here)
    for options in ([], ["--json"]):
        here.cli.ok("status", *options)
    here.cli.ok("verify")
    assert database(here) == before


def database(here: Place) -> bytes:
    return here.home.database.read_bytes()


def test_a_home_can_stand_before_or_after_the_command(here: Place, tmp_path: Path) -> None:
    here.cli.ok("init", here.sweep("a.yaml", "res_a"), "--home", "other")
    texts = [
        without_time(here.cli.ok(*words, **extra))
        for words, extra in (
            (("status", "--json", "--home", "other"), {}),
            (("--home", "other", "status", "--json"), {}),
            (("--home", "none", "status", "--json", "--home", "other"), {}),
            (("status", "--json"), {"SQLQUEUE_HOME": str(tmp_path / "other")}),
        )
    ]
    assert texts == list(repeat(texts[0], 4))


def test_watching_prints_again_and_ctrl_c_ends_it(here: Place) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    output = here.root / "watched.txt"
    watching = here.cli.start("status", "--watch", "--json", "--interval", "0.05", output=output)
    wait_until(lambda: output.read_text().count("\n") >= 3, 20, "three looks")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 0
    assert all(json.loads(line)["done"] is False for line in output.read_text().splitlines())


def test_a_manager_that_was_killed_is_no_obstacle(
    here: Place, manager_process: ManagerProcess
) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    manager_process.start()
    manager_process.kill()
    assert here.home.manager() is not None
    assert json.loads(here.cli.ok("status", "--json"))["manager"]["running"] is False
    assert "Nothing new" in here.cli.ok("init", "a.yaml")


# --- verify and token -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("running", [False, True])
def test_verify_finds_and_repair_rebuilds(
    here: Place, manager_process: ManagerProcess, running: bool
) -> None:
    here.cli.ok("run", here.sweep("a.yaml", "res_a"))
    csv = here.root / "res_a" / "final_results.csv"
    whole = csv.read_bytes()
    assert "Clean" in here.cli.ok("verify")
    if running:
        manager_process.start()
    csv.write_bytes(whole[:-20])
    done = here.cli("verify")
    assert done.returncode == 1
    assert "res_a/final_results.csv" in done.stdout
    assert "`sqlqueue verify --repair`" in done.stdout
    text = here.cli.ok("verify", "--repair")
    assert "repaired: " in text
    assert "Clean" in text
    assert csv.read_bytes() == whole
    assert "Nothing was repaired" in here.cli.ok("verify", "--repair")


def test_the_token_is_one_line_that_stays(here: Place) -> None:
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    token = here.cli.ok("token")
    assert re.fullmatch(r"[\w-]{32,}\.[0-9a-f]{64}\n", token)
    assert here.cli.ok("token") == token


# --- weight -------------------------------------------------------------------------


def test_status_beside_a_manager_imports_nothing_that_it_does_not_need(
    here: Place, manager: ManagerProcess
) -> None:
    assert manager.process is not None
    here.cli.set_up("init", here.sweep("a.yaml", "res_a"))
    report = here.cli("status", PYTHONPROFILEIMPORTTIME="1").stderr
    imported = set(re.findall(r"\|\s*([\w]+)[\w.]*$", report, re.MULTILINE))
    assert "msgspec" in imported
    assert imported & {"pydantic", "rich", "logging", "sqlalchemy", "yaml", "asyncio"} == set()


def test_a_dry_run_refuses_what_the_real_one_refuses(here: Place) -> None:
    """All at once; nothing is made, and a person's file stays."""
    (here.root / "theirs").mkdir()
    (here.root / "theirs" / "final_results.csv").write_text("years of work\n")
    (here.root / "file").touch()
    told = {
        "file": "is a file; an output_dir must be a folder",
        "file/below": "is a file",
        "theirs": "that this queue did not write",
        ".sqlqueue": "is inside the queue's home",
        ".sqlqueue/unsubmitted": "is inside the queue's home",
        "a/unsubmitted": "unsubmitted is a name that sqlqueue uses itself",
        "a/final_results.csv": "final_results.csv is a name that sqlqueue uses itself",
    }
    sweeps = [here.sweep(f"{n}.yaml", folder, f"p{n}") for n, folder in enumerate(told)]
    for again in (["--dry-run"], []):
        refused = here.cli("init", *sweeps, *again)
        assert refused.returncode == 2
        lines = refused.stderr.splitlines()
        if not again:  # those that cannot be are refused before the others are looked at
            told = {each: why for each, why in told.items() if each.startswith((".", "a/"))}
        for folder, why in told.items():
            assert any(f"{folder}: " in each and why in each for each in lines), lines
    here.cli.ok("init", "--dry-run", "--set-aside", sweeps[2])
    assert (here.root / "theirs" / "final_results.csv").read_text() == "years of work\n"
