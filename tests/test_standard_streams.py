"""Real commands whose standard streams are closed, or cannot encode what they say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cli_queue import Place, place

from support import Cli, environment, sqlqueue_command, stop, wait_until

ALL = "<&- >&- 2>&-"
NARROW = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
}
NAMES = ["C", *(pytest.param(each, marks=pytest.mark.slow) for each in ("ascii", "latin-1"))]


@pytest.fixture
def queue(tmp_path: Path, cli: Cli) -> Place:
    """Four tasks."""
    found = place(tmp_path, cli)
    cli.set_up("init", found.sweep("one.yaml", "results"))
    return found


def redirected(how: str, *arguments: str) -> list[str]:
    return ["sh", "-c", f'exec "$0" "$@" {how}', *sqlqueue_command(*arguments)]


def closed(queue: Place, how: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        redirected(how, *arguments),
        cwd=queue.root, env=queue.cli.environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same for commands that change nothing in it."""
    root = tmp_path_factory.mktemp("unchanged")
    found = place(root, Cli(root, environment(tmp_path_factory.mktemp("state"))))
    found.cli.set_up("init", found.sweep("one.yaml", "results"))
    return found


@pytest.mark.parametrize("words", ["--help", "init one.yaml"])
def test_a_closed_output_is_as_good_as_the_null_device(unchanged: Place, words: str) -> None:
    done = closed(unchanged, ">&-", *words.split())
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("words", "status"), [("status --json", 0), ("init gone.yaml", 2)])
def test_nobody_hears_and_the_exit_status_is_right(
    unchanged: Place, words: str, status: int
) -> None:
    assert closed(unchanged, ALL, *words.split()).returncode == status


def test_a_whole_run_without_streams(queue: Place) -> None:
    assert closed(queue, ALL, "run", "one.yaml").returncode == 0
    assert len(queue.rows("results")) == 4
    queue.cli.ok("verify")


@pytest.mark.slow
def test_no_socket_and_no_file_gets_the_number_of_a_stream(queue: Place) -> None:
    manager = subprocess.Popen(
        redirected(ALL, "serve", "--until-done"), cwd=queue.root, env=queue.cli.environment
    )
    try:
        wait_until(queue.home.manager, 30, "the manager listening")
        links = [Path(f"/proc/{manager.pid}/fd/{number}").readlink() for number in range(3)]
        assert links == [Path(os.devnull)] * 3
        assert closed(queue, ALL, "work", "--cpu").returncode == 0
        assert manager.wait(30) == 0
    finally:
        stop(manager)
    assert len(queue.rows("results")) == 4
    queue.cli.ok("verify")


@pytest.mark.parametrize("name", NAMES)
def test_bars_are_drawn_in_what_the_terminal_can_show(unchanged: Place, name: str) -> None:
    shown, drawn = unchanged.cli.ok("status", **NARROW[name]), unchanged.cli.ok("status")
    assert "░░░░░░░░░░░░   0%" in drawn
    assert shown == drawn.replace("░", ".")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_encoded_is_shown_escaped(
    tmp_path: Path, cli: Cli, name: str
) -> None:
    """As in a file that a host in UTF-8 gave to the queue."""
    found = place(tmp_path, cli)
    cli.set_up("init", found.sweep("one.yaml", "日本"))
    assert r"\u65e5\u672c" in cli.ok("status", **NARROW[name])
    assert r"\u65e5\u672c" not in cli.ok("status")


def test_a_file_name_that_the_locale_has_not_is_a_clear_error(tmp_path: Path, cli: Cli) -> None:
    found = place(tmp_path, cli)
    done = cli("init", found.sweep("one.yaml", "日本"), **NARROW["C"])
    assert done.returncode == 1
    assert "the encoding of this locale (ascii) has no" in done.stderr
    assert "PYTHONUTF8=1" in done.stderr
    assert "fault" not in done.stderr
    cli.ok("init", "one.yaml")
