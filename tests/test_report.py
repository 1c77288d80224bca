"""The figures of `status` as text and JSON: what is shown, in which words, how wide."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sqlqueue import figures, report
from sqlqueue.tables import Column, Page, fitted, table

COUNTS = ("total", "pending", "running", "completed", "failed", "cancelled")


def counts(*numbers: int) -> dict[str, Any]:
    return dict(zip(COUNTS, numbers, strict=True))


def example() -> dict[str, Any]:
    """A queue with some of everything in it."""
    return {
        "queue": "5b1c",
        "home": "/home/ada/paper/.sqlqueue",
        "root": "/home/ada/paper",
        "as_of": "2026-03-02T20:11:05+00:00",
        "manager": {
            "running": True,
            "pid": 4711,
            "host": "node7",
            "started_at": "2026-03-02T20:11:05+00:00",
        },
        "totals": counts(2000, 1200, 2, 790, 5, 3),
        "phases": [
            {"phase": "exp1_vary_width", **counts(1200, 700, 2, 490, 5, 3), "eta_seconds": 3900.0},
            {"phase": "exp2", **counts(800, 500, 0, 300, 0, 0), "eta_seconds": None},
        ],
        "directories": [
            {"output_dir": "results_exp1_mnist", **counts(1200, 700, 2, 490, 5, 3), "rows": 490,
             "trouble": None, "unsubmitted": 0},
            {"output_dir": "results_exp2_cifar10", **counts(800, 500, 0, 300, 0, 0), "rows": 298,
             "trouble": "suspended: no space left on device", "unsubmitted": 2},
        ],
        "workers": [
            {"worker_id": "node7-gpu0", "host": "node7", "device": "cuda:0", "worker_type": "gpu",
             "state": "running", "heard_seconds_ago": 1.0, "tasks": [
                {"task_id": "exp1_vary_width_0_42", "attempt": 1, "seconds": 130.0, "step": 12.0,
                 "total": 50.0, "metrics": {"loss": 0.31234, "acc": 0.9}}]},
            {"worker_id": "node8-gpu0", "host": "node8", "device": "cuda:0", "worker_type": "gpu",
             "state": "idle", "heard_seconds_ago": 4.0, "tasks": []},
            {"worker_id": "node9-gpu0", "host": "node9", "device": "cuda:0", "worker_type": "gpu",
             "state": "gone", "heard_seconds_ago": 4000.0, "tasks": []},
        ],
        "failures": [
            {"error": "Traceback (most recent call last):\nValueError: width must be even",
             "count": 5, "task_ids": ["exp1_vary_width_3_42", "exp1_vary_width_4_42"]},
        ],
        "given_back": [
            {"error": "node9-gpu0 cannot run here: no module 'train'", "count": 1,
             "task_ids": ["exp2_9_1"]},
        ],
        "unsubmitted": 2,
        "set_aside": ["results_exp2_cifar10/final_results.csv.2026-03-02"],
        "eta_seconds": 3900.0,
        "done": False,
    }  # fmt: skip


def empty() -> dict[str, Any]:
    lists = ("phases", "directories", "workers", "failures", "given_back", "set_aside")
    return example() | {each: [] for each in lists} | {
        "totals": counts(0, 0, 0, 0, 0, 0),
        "manager": {"running": False, "pid": None, "host": None, "started_at": None},
        "unsubmitted": 0,
        "eta_seconds": None,
    }  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_page(columns: int) -> None:
    status = example()
    status["phases"][0]["phase"] = "p" * 100
    status["directories"][0]["output_dir"] = "d" * 200
    status["workers"][0]["worker_id"] = "w" * 80
    status["failures"][0]["error"] = "ValueError: " + "e" * 500
    tables = (
        report.overview(status, Page(columns))
        + report.phases(status["phases"], Page(columns))
        + report.directories(status["directories"][:1], Page(columns))
        + report.workers(status["workers"], Page(max(columns, 80)))
        + report.failures(status["failures"], Page(columns))
    )
    assert max(figures.width(line) for line in tables) <= max(columns, 80)


def test_everything_that_matters_is_said() -> None:
    text = "\n".join(report.status_lines(example(), Page(120)))
    for said in (
        "790 of 2,000 tasks completed (39%), about 1h 05m left",
        "2 running, 1,200 pending, 5 failed, 3 cancelled",
        "pid 4711 on node7, since 2026-03-0",
        "exp1_vary_width",
        "exp1_vary_width_0_42",
        "12/50",
        "loss=0.3123 acc=0.9",
        "2m 10s",
        "(idle)",
        "1 worker not heard of any more",
        "5 × ValueError: width must be even",
        "exp1_vary_width_3_42, exp1_vary_width_4_42 and 3 more",
        "trouble in results_exp2_cifar10: suspended: no space left on device",
        "set aside: results_exp2_cifar10/final_results.csv.2026-03-02",
        "2 results saved locally, not in the database yet",
        "output: `sqlqueue logs exp1_vary_width_3_42`",
        "why: `sqlqueue failures`",
    ):
        assert said in text


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    text = report.headline(example() | {"eta_seconds": None})
    assert text == "790 of 2,000 tasks completed (39%), time left not known yet"


def test_an_empty_queue_says_what_to_do() -> None:
    text = "\n".join(report.status_lines(empty(), Page(80)))
    assert "`sqlqueue init FILES...`" in text
    assert "`sqlqueue serve` starts one" in text
    assert "PHASE" not in text


def test_a_column_that_nobody_needs_is_left_out() -> None:
    lines = report.phases(example()["phases"][1:], Page(80))
    assert "CANCELLED" not in lines[0]
    assert "LEFT" not in lines[0]


def test_a_pipe_gets_no_colours() -> None:
    assert "\x1b" not in "\n".join(report.status_lines(example(), Page(80)))
    assert "\x1b[31m" in "\n".join(report.status_lines(example(), Page(80, colours=True)))


def test_colours_change_no_character() -> None:
    coloured = "\n".join(report.status_lines(example(), Page(80, colours=True)))
    for code in ("0", "1", "2", "31", "32", "33", "36"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == "\n".join(report.status_lines(example(), Page(80)))


def test_nothing_that_a_task_says_steers_the_terminal() -> None:
    status = example()
    evil = "\x1b[2J\r\n\u202e"
    status["workers"][0]["tasks"][0]["metrics"] = {evil: evil}
    status["failures"][0]["error"] = f"{evil} boom {evil}x"
    status["directories"][0]["trouble"] = evil
    status["set_aside"] = [evil]
    lines = report.status_lines(status, Page(200))
    assert not any(sign in line for line in lines for sign in "\x1b\r\n\u202e")


def test_json_is_valid_for_every_parser_and_loses_nothing() -> None:
    status = example()
    status["workers"][0]["tasks"][0]["metrics"] = {"a": math.nan, "b": -math.inf, "c": 1.5}
    found = json.loads(report.status_json(status), parse_constant=pytest.fail)
    assert found["workers"][0]["tasks"][0]["metrics"] == {"a": "nan", "b": "-inf", "c": 1.5}
    assert found["totals"] == status["totals"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (125, "2m 05s"), (3599.6, "1h 00m"),
     (3900, "1h 05m"), (86400 * 3 + 3600 * 4, "3d 04h"), (-3, "0s"), (math.nan, "0s")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "-"), (0, 3, "0%"), (1999, 2000, "99%"), (2000, 2000, "100%")],
)
def test_a_share_is_whole_only_when_all_is_done(part: int, whole: int, text: str) -> None:
    assert figures.share(part, whole) == text


def test_plurals() -> None:
    assert figures.plural(1, "task") == "1 task"
    assert figures.plural(0, "task") == "0 tasks"
    assert figures.plural(2000, "directory", "directories") == "2,000 directories"


@pytest.mark.parametrize("columns", range(1, 14))
@pytest.mark.parametrize("text", ["abcdefghijklm", "日本語の長い名前です", "e\u0301e\u0301xyzuvw"])
def test_cutting_keeps_to_the_width(text: str, columns: int) -> None:
    assert figures.width(figures.cut(text, columns)) <= columns
    assert figures.width(figures.cut_end(text, columns)) <= columns


def test_cutting_keeps_both_ends() -> None:
    assert figures.cut("exp1_vary_width_0_42", 11) == "exp1_…_0_42"


def test_the_widest_column_gives_way_first_and_none_below_its_least() -> None:
    columns = (Column("A", least=4), Column("B", least=4), Column("N", "right"))
    assert fitted(columns, [30, 10, 5], 29) == [10, 10, 5]
    assert fitted(columns, [30, 10, 5], 5) == [4, 4, 5]


def test_columns_line_up() -> None:
    lines = table((Column("NAME"), Column("N", "right")), [["a", "1"], ["日本", "20"]], Page())
    assert lines == ["NAME   N", "a      1", "日本  20"]
