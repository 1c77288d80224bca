"""Stopping by a signal: tasks go back uncharged, the manager leaves nothing half done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from acceptance import SECONDS, Study, heeding_ctrl_c, is_gone

from support import wait_until

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name
)
MOSTLY = pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT],
    ids=lambda each: each.name,
)
"""The other signal, which the same handler takes, is left to the long runs."""


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    yield from heeding_ctrl_c()


def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(SECONDS)


@MOSTLY
def test_a_worker_gives_its_task_back_uncharged(study: Study, number: signal.Signals) -> None:
    sweep = study.write("a.yaml", "results", "wait", combinations={"seed": [1]}, max_attempts=1)
    study.set_up(sweep)
    study.manager.start()
    worker = study.worker()
    (child,) = study.started(1)
    assert study.totals() == {"running": 1}
    assert ended(worker, number) == 128 + number
    wait_until(lambda: is_gone(child), SECONDS, "the end of the child")
    assert study.attempts() == ["RELEASED"]
    assert study.totals() == {"pending": 1}
    study.go()
    study.work()
    assert study.attempts() == ["RELEASED", "COMPLETED"]
    assert len(study.rows("results")) == 1


@SIGNALS
def test_a_manager_ends_clean(study: Study, number: signal.Signals) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1]}))
    study.manager.start()
    process = study.manager.process
    assert process is not None
    socket_path = study.manager.socket_path
    assert ended(process, number) == 0
    assert not study.home.manager_file.exists()
    assert not socket_path.exists()
    assert "Traceback" not in study.manager.said
    study.manager.start()
    assert study.totals() == {"pending": 1}


def test_a_second_manager_is_refused_and_named(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1]}))
    study.manager.start()
    assert study.manager.process is not None
    done = study.cli("serve")
    assert done.returncode == 1
    assert str(study.manager.process.pid) in done.stderr
    assert "Traceback" not in done.stderr
    assert study.totals() == {"pending": 1}


@MOSTLY
def test_run_gives_back_stops_all_and_goes_on_from_there(
    study: Study, number: signal.Signals
) -> None:
    sweep = study.write("a.yaml", "results", "wait", combinations={"seed": [1, 2]})
    process = study.cli.start("run", sweep, output=study.output)
    study.workers.append(process)
    (child,) = study.started(1)
    assert ended(process, number) == 130
    wait_until(lambda: is_gone(child), SECONDS, "the end of the child")
    assert study.home.manager() is None
    assert study.attempts() == ["RELEASED"]
    assert "Traceback" not in study.said
    study.go()
    study.run(sweep)
    assert sorted(row["value"] for row in study.rows("results")) == ["10", "20"]


def test_serve_until_done_ends_by_itself(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1, 2]}))
    study.manager.start("--until-done")
    study.work()
    assert study.manager.process is not None
    assert study.manager.process.wait(SECONDS) == 0
    assert study.home.manager() is None
    assert len(study.rows("results")) == 2
