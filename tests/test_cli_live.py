"""What `run` shows while it works, and leaves behind; what `--watch` shows."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from test_report import example

from sqlqueue import figures, live, report_run
from sqlqueue.tables import Page


def picture(status: dict[str, Any], columns: int) -> str:
    console = Console(width=columns, height=60, file=io.StringIO(), force_terminal=True)
    with console.capture() as captured:
        console.print(live.drawn(status, 75.0, columns))
    return captured.get()


def plain(text: str) -> str:
    from rich.text import Text

    return Text.from_ansi(text).plain


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_picture_fits(columns: int) -> None:
    status = example()
    status["phases"][0]["phase"] = "p" * 100
    status["failures"][0]["error"] = "e" * 300
    lines = plain(picture(status, columns)).splitlines()
    assert max(map(figures.width, lines)) <= columns


def test_the_picture_says_what_happens() -> None:
    text = plain(picture(example(), 120))
    for said in ("490/1,200", "40%", "2 running", "5 failed", "1h 05m left", "step 12/50",
                 "exp1_vary_width_0_42", "loss=0.3123", "5 × ValueError: width must be even",
                 "running for 1m 15s"):  # fmt: skip
        assert said in text


def test_markup_in_names_is_text() -> None:
    status = example()
    status["phases"][0]["phase"] = "a[bold]b"
    status["workers"][0]["tasks"][0]["metrics"] = {"[red]": "[/]"}
    text = plain(picture(status, 200))
    assert "a[bold]b" in text
    assert "[red]=[/]" in text


def test_many_phases_show_those_that_are_not_complete() -> None:
    status = example()
    done = status["phases"][1] | {"completed": 800}
    status["phases"] = [done | {"phase": f"done{n}"} for n in range(60)] + status["phases"]
    text = plain(picture(status, 120))
    assert "exp1_vary_width" in text
    assert "done59" not in text


def test_many_tasks_are_counted() -> None:
    status = example()
    status["workers"][0]["tasks"] *= 15
    assert "and 3 more tasks" in plain(picture(status, 120))


def test_a_pipe_gets_a_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    lines, status = live.Lines(), example()
    lines.show(status)
    lines.show(status)
    lines.say("manager: \x1b[2Jgone")
    assert capsys.readouterr().out.splitlines() == [
        "790 of 2,000 tasks completed (39%), about 1h 05m left; "
        "2 running, 1,200 pending, 5 failed, 3 cancelled",
        "manager: \\x1b[2Jgone",
    ]


def test_the_summary_names_files_failures_and_what_is_next() -> None:
    text = "\n".join(report_run.summary_lines(example(), 75.0, Page(80)))
    for said in ("790 of 2,000 tasks completed (39%)", "in 1m 15s",
                 "490 rows  results_exp1_mnist/final_results.csv", "5 × ValueError",
                 "logs/TASK_ID/", "Next: read the output of what failed"):  # fmt: skip
        assert said in text


def test_a_summary_without_failures_advises_to_verify() -> None:
    status = example() | {"failures": []}
    status["totals"] = status["totals"] | {"failed": 0}
    status["directories"] = [status["directories"][0] | {"rows": 1}] * 10
    text = "\n".join(report_run.summary_lines(status, 1.0, Page(80)))
    assert "1 row   results_exp1_mnist" in text
    assert "and 2 more files" in text
    assert "sqlqueue verify" in text
