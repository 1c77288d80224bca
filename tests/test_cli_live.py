"""What `run` shows while it works, and leaves behind; what `--watch` shows."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from test_report import example

from sqlqueue import figures, live, report_run, watching
from sqlqueue.tables import Page, redrawable


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


def test_a_low_terminal_shows_fewer_phases_and_the_whole_at_the_foot() -> None:
    status = example()
    status["phases"] = [status["phases"][1] | {"phase": f"quiet{n}"} for n in range(30)] + [
        status["phases"][0]
    ]
    console = Console(width=80, height=20, file=io.StringIO(), force_terminal=True)
    lines = console.render_lines(live.drawn(status, 75.0, 80, 20))
    text = "\n".join("".join(each.text for each in line) for line in lines)
    assert len(lines) <= 20
    assert "exp1_vary_width" in text
    assert "more phases" in text
    assert "790 of 2,000" in text


def test_a_narrowed_terminal_is_cleared_of_broken_lines() -> None:
    written = io.StringIO()
    console = Console(width=100, height=40, file=written, force_terminal=True)
    with Live(console=console, auto_refresh=False, transient=True) as shown:
        drawing = live.Picture(shown, console)
        drawing.show(example())
        before = written.getvalue()
        console.width = 50
        drawing.show(example())
    ups = written.getvalue()[len(before) :].split("490/1,200")[0].count("\x1b[1A")
    assert ups > before.count("\n")


def screen(status: dict[str, Any], monkeypatch: pytest.MonkeyPatch, rows: int) -> list[str]:
    monkeypatch.setattr(watching.os, "get_terminal_size", lambda _: os.terminal_size((80, rows)))
    return watching.fitting(status)


def test_watching_many_phases_keeps_workers_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    status = example()
    quiet = [status["phases"][1] | {"phase": f"quiet{n}"} for n in range(40)]
    status["phases"] = quiet + status["phases"][:1]
    status["directories"] = [status["directories"][0]] * 40
    lines = screen(status, monkeypatch, 30)
    text = "\n".join(lines)
    assert len(lines) == 30
    for said in ("exp1_vary_width", "node7-gpu0", "5 × ValueError", "quiet0",
                 "more phases and 40 output directories: `sqlqueue status --all`"):  # fmt: skip
        assert said in text


def test_watching_with_room_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(screen(example(), monkeypatch, 60))
    assert "results_exp1_mnist" in text
    assert "shows all" not in text


@pytest.mark.parametrize(("term", "drawn"), [("dumb", False), ("xterm", True)])
def test_a_terminal_that_cannot_be_steered_gets_lines(
    term: str, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = os.openpty()
    monkeypatch.setenv("TERM", term)
    with os.fdopen(leader), os.fdopen(follower, "w") as stream:
        assert redrawable(stream) is drawn


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
                 "`sqlqueue logs exp1_vary_width_3_42`", "Next: `sqlqueue failures`"):  # fmt: skip
        assert said in text


def test_a_summary_without_failures_advises_to_verify() -> None:
    status = example() | {"failures": []}
    status["totals"] = status["totals"] | {"failed": 0}
    status["directories"] = [status["directories"][0] | {"rows": 1}] * 10
    text = "\n".join(report_run.summary_lines(status, 1.0, Page(80)))
    assert "1 row   results_exp1_mnist" in text
    assert "and 2 more files" in text
    assert "sqlqueue verify" in text
