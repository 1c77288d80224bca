"""`show`: a row of any CSV leads to the attempt that made it, and other results are compared.

What is not here: the command beside a running manager (`test_once_more_live.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import Room, signature

from sqlqueue import protocol
from sqlqueue.errors import UnknownTask, UsageError
from sqlqueue.plan.differing import differences
from sqlqueue.plan.version import named, shown
from sqlqueue.protocol import Rerun
from sqlqueue.report import plain
from sqlqueue.report_show import show_lines
from sqlqueue.showing import shown as task_shown
from sqlqueue.tables import Page


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def once_more(core: Core) -> None:
    """A task that failed, was completed, and was once more; and a third result for it."""
    core.add(task(0))
    core.add(task(0, "q", "b"))
    core.fail(core.take(), outcome="OOM")
    ran = {"code_version": "a1b2c3d4e5+9f8e7d6c", "versions": {"python": "3.11.7"}}
    where = {"host": "node7", "device": "cuda:0", "seconds": 90.0, "log_file": "logs/p_0_0/2.log"}
    data = {"loss": 0.5, "note": "a\nb"}
    core.submit(core.take("gpu0"), "gpu0", data=data, **ran, **where)
    core.ok(Rerun(select=["p_0_0"]))
    core.submit(core.take(), data={"loss": 0.25, "note": "a\nb"}, code_version="b2c3d4e5f6")
    core.submit("p_0_0", "stranger", data={"loss": 0.25, "note": "a\nb", "more": math.nan})


def test_a_row_leads_to_the_attempt_that_made_it(core: Core) -> None:
    once_more(core)
    found = task_shown(core.room.home, "p_0_0")
    assert (found["state"], found["rerun"]) == ("COMPLETED", False)
    assert [each["phase"] for each in found["phases"]] == ["p", "q"]
    assert found["directories"] == [{"output_dir": "a", "row": 1}, {"output_dir": "b", "row": 1}]
    outcomes = [(each["attempt"], each["outcome"], each["accepted"]) for each in found["attempts"]]
    assert outcomes == [
        (1, "OOM", False), (2, "SUPERSEDED", False),
        (3, "COMPLETED", True), (4, "SUPERSEDED", False),
    ]  # fmt: skip
    second = found["attempts"][1]
    assert second["code_version"] == "a1b2c3d4e5+9f8e7d6c"
    assert (second["host"], second["device"], second["seconds"]) == ("node7", "cuda:0", 90.0)
    assert second["versions"] == {"python": "3.11.7"}
    assert found["result"]["attempt"] == 3
    first, third = found["other_results"]
    assert first["differs"] == {"loss": {"accepted": 0.25, "other": 0.5, "difference": 0.25}}
    assert list(third["differs"]) == ["more"]
    json.dumps(plain(found), allow_nan=False)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_a_person_reads(core: Core, columns: int) -> None:
    once_more(core)
    lines = show_lines(task_shown(core.room.home, signature(0)[:8]), Page(columns))
    text = "\n".join(lines)
    for each in (
        "p_0_0  COMPLETED",
        "phases       p, q",
        "directories  a (row 1), b (row 1)",
        "attempt 1  OOM on w",
        "attempt 2  SUPERSEDED on gpu0 cuda:0 (node7)",
        "code: a1b2c3d4e5, changed (9f8e7d6c) (python 3.11.7)",
        "attempt 3  COMPLETED on w, its result stands in the CSVs",
        "output: logs/p_0_0/2.log",
        "took 1m 30s",
        "result of attempt 3",
        "loss = 0.25",
        r"note = a\nb",
        "another result, of attempt 2, differs in 1 metric",
    ):
        assert each in text, text


def test_what_was_said_of_an_attempt_before_its_late_result_is_no_error_of_it(core: Core) -> None:
    core.add(task(0))
    taken = core.take(lease_seconds=20.0)
    core.pass_time(30)
    lost = "not heard of for 20 s"
    assert f"    {lost}" in show_lines(task_shown(core.room.home, "p_0_0"), Page())
    core.submit(taken)
    found = task_shown(core.room.home, "p_0_0")
    assert [(each["outcome"], each["error"]) for each in found["attempts"]] == [("COMPLETED", lost)]
    lines = show_lines(found, Page())
    assert f"    before its result came: {lost}" in lines
    assert f"    {lost}" not in lines


def test_a_task_without_an_attempt_and_one_that_runs_once_more(core: Core) -> None:
    core.add(task(0), task(1))
    assert "no attempt yet" in show_lines(task_shown(core.room.home, "p_1_1"), Page())
    core.submit(core.take())
    core.ok(Rerun(select=["p_0_0"]))
    found = task_shown(core.room.home, "p_0_0")
    assert (found["state"], found["rerun"]) == ("PENDING", True)
    assert "its row stays until then" in show_lines(found, Page())[0]
    core.take()
    assert any(
        "RUNNING on w" in each for each in show_lines(task_shown(core.room.home, "p_0_0"), Page())
    )


def test_how_a_task_is_named(core: Core) -> None:
    core.add(*map(task, range(40)))
    whole = signature(3)
    for name in (whole, whole[:8], whole[:20].upper(), "p_3_3"):
        assert task_shown(core.room.home, name)["task_id"] == "p_3_3"
    with pytest.raises(UsageError, match="at least 8 characters"):
        task_shown(core.room.home, whole[:7])
    for name in ("p_99_99", "0123456789abcdef", whole + "0", "results_exp1"):
        with pytest.raises(UnknownTask):
            task_shown(core.room.home, name)


def test_a_beginning_of_several_is_refused_with_their_names(core: Core) -> None:
    alike = ["0123456789abcdef" + f"{number:016x}" for number in range(7)]
    core.add(*(task(number, signature=each) for number, each in enumerate(alike)))
    with pytest.raises(UsageError, match=f"begins several: {alike[0]}.*, \\.\\.\\."):
        task_shown(core.room.home, "0123456789abcdef")
    assert task_shown(core.room.home, alike[6])["signature"] == alike[6]


def test_a_task_may_be_called_like_a_signature(core: Core) -> None:
    core.add(task(0, phase="abcdef01", seed=None))
    assert task_shown(core.room.home, "abcdef01_0")["task_id"] == "abcdef01_0"


def test_metrics_are_compared_as_a_csv_has_them() -> None:
    left = {"a": 1, "b": math.nan, "c": True, "d": "x", "e": None, "f": 1e308}
    right = {"a": 1.0, "b": math.nan, "c": 1, "d": "y", "f": -1e308, "g": 2}
    found = differences(left, right)
    assert list(found) == ["c", "d", "e", "f", "g"]
    assert found["d"] == {"accepted": "x", "other": "y", "difference": None}
    assert found["f"]["difference"] is None, "which is infinite"
    assert found["g"] == {"accepted": None, "other": 2, "difference": None}


def test_versions_are_words_and_read_well() -> None:
    files = {"a.py": b"1"}
    commit = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"
    for code, text in {
        named(commit, False, files): "a1b2c3d4e5",
        named(commit, True, {}): "a1b2c3d4e5, changed",
        named("", False, {}): "unknown",
        "sqlqueue-0.1.0": "sqlqueue-0.1.0",
        "files-00112233": "no commit, files-00112233",
    }.items():
        assert shown(code) == text
    changed = named(commit, True, files)
    assert shown(changed) == f"a1b2c3d4e5, changed ({changed.partition('+')[2]})"
    assert named("", False, files).partition("-")[2] == changed.partition("+")[2]
    assert named("", False, {"b.py": b"1"}) != named("", False, files)


def test_it_changes_nothing(tmp_path: Path) -> None:
    core = Core.begin(Room(tmp_path / "queue"))
    core.add(task(0))
    core.end()

    def files() -> dict[Path, bytes]:
        return {each: each.read_bytes() for each in core.room.root.rglob("*") if each.is_file()}

    before = files()
    task_shown(core.room.home, "p_0_0")
    assert files() == before


def test_protocol_has_what_it_shows() -> None:
    """Nothing that an attempt tells is left out of `show`."""
    told = set(protocol.SubmitResult.__struct_fields__)
    from sqlqueue.showing import OF_ATTEMPT

    assert told - set(OF_ATTEMPT) == {"task_id", "result_data", "attempt", "signature"}
