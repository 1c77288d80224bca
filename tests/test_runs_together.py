"""Two `run`s on one home at once: one of them has the manager, both end well.

Which one has it, and how long, is decided by the machine; so the tests give it many chances.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_queue import Place, place

from sqlqueue.home_lock import HomeLock
from support import Cli, later, stop, wait_until

SECONDS = 60.0
ROUNDS = 4


@pytest.fixture
def here(tmp_path: Path, cli: Cli) -> Place:
    return place(tmp_path, cli)


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What was started by `both`; ended when the test leaves."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        stop(each)


def both(here: Place, running: list[subprocess.Popen[bytes]], first: str, second: str) -> None:
    """Both end with 0 and say how many tasks there are."""
    pair = [
        here.cli.start("run", file, output=here.root / f"run-{len(running)}-{number}")
        for number, file in enumerate((first, second))
    ]
    texts = [here.root / f"run-{len(running)}-{number}" for number in range(2)]
    running += pair
    for each, text in zip(pair, texts, strict=True):
        assert each.wait(SECONDS) == 0, text.read_text()
        assert "(100%)" in text.read_text()


@pytest.mark.slow
def test_the_same_file_twice(here: Place, running: list[subprocess.Popen[bytes]]) -> None:
    for number in range(ROUNDS):
        seeds = (10 * number + 1, 10 * number + 2, 10 * number + 3)
        file = here.sweep(f"{number}.yaml", "res", f"p{number}", seeds=seeds, widths=(1,))
        both(here, running, file, file)
        assert len(here.rows("res")) == 3 * (number + 1)


@pytest.mark.parametrize("rounds", [2, *later(ROUNDS)])
def test_the_files_of_both_are_run(
    here: Place, running: list[subprocess.Popen[bytes]], rounds: int
) -> None:
    for number in range(rounds):
        seeds = (2 * number, 2 * number + 1)
        files = [
            here.sweep(f"{each}{number}.yaml", f"res_{each}", f"{each}{number}", seeds, (width,))
            for each, width in (("a", 2), ("b", 3))
        ]
        both(here, running, *files)
        assert len(here.rows("res_a")) == len(here.rows("res_b")) == 2 * (number + 1)


def test_a_manager_that_is_refused_is_tried_again(
    here: Place, running: list[subprocess.Popen[bytes]]
) -> None:
    """As when the other one has the queue already and does not listen yet."""
    here.cli.set_up("init", here.sweep("a.yaml", "res", seeds=(1,), widths=(1,)))
    script = (
        "import sys, pathlib; from sqlqueue.home import Home; from sqlqueue import together; "
        f"sys.exit(together.together(Home(pathlib.Path({str(here.home.path)!r})), ['one'], False))"
    )
    log = here.home.logs / "run-manager.log"
    with HomeLock(here.home, "a test"):
        running.append(subprocess.Popen([sys.executable, "-c", script], env=here.cli.environment))
        wait_until(lambda: log.exists() and refusals(log) > 1, SECONDS, "two refusals")
    assert running[0].wait(SECONDS) == 0, log.read_text()
    assert len(here.rows("res")) == 1


def refusals(log: Path) -> int:
    return log.read_text().count("is in use by a test")


def test_a_manager_that_cannot_start_ends_the_run(here: Place) -> None:
    file = here.sweep("a.yaml", "res", seeds=(1,), widths=(1,))
    here.cli.set_up("init", file)
    here.home.socket.mkdir()
    done = here.cli("run", file)
    assert done.returncode == 1
    assert "the manager ended (exit 2); its log" in done.stderr
    assert "is not a socket" in done.stderr
