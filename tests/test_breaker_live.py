"""The circuit breaker for real: `run`, `serve` and `work`, a bug, and its cure.

What is not here: when it trips (`test_breaker.py`).
"""

from __future__ import annotations

import pytest
from acceptance import SECONDS, Study

from support import wait_until

SEEDS = list(range(5))
RUN_SECONDS = 3 * SECONDS
"""Three runs, of which each starts a manager, a worker and children."""


def doomed(study: Study, **settings: object) -> str:
    """A phase whose cells all fail alike until the file `fixed` is there."""
    return study.write(
        "doomed.yaml", "results", "fail_unless_fixed", "doomed", combinations={"seed": SEEDS},
        max_attempts=1, **settings,
    )  # fmt: skip


def test_run_ends_and_says_what_to_do_and_goes_on_when_it_is_cured(study: Study) -> None:
    good = study.write("good.yaml", "good", "measure", "good", combinations={"seed": [1, 2]})
    done = study.cli("run", doomed(study), good, "--breaker", "3", seconds=RUN_SECONDS)
    assert done.returncode == 1, done.stderr
    assert study.totals() == {"completed": 2, "failed": 3, "pending": 2}
    for said in (
        "Phase doomed is paused by the breaker: 3 cells in a row failed alike: KeyError: 'poison'",
        "paused by the breaker: doomed, 3 cells in a row failed alike:",
        "3 × KeyError: 'poison'",
        "2 rows  good/final_results.csv",
        "Next: `sqlqueue failures phase=doomed` tells why",
        "`sqlqueue resume phase=doomed` and `run` again go on with it",
        "`sqlqueue logs doomed_0_0`",
    ):
        assert said in done.stdout, done.stdout
    again = study.cli("run", "doomed.yaml", seconds=RUN_SECONDS)
    assert again.returncode == 1
    assert "paused by the breaker: doomed" in again.stdout
    assert study.totals()["pending"] == 2, "nothing was begun"
    status = study.cli.ok("status")
    assert "breaker" in status
    assert "then: `sqlqueue resume phase=doomed`" in status
    study.go("fixed")
    retried = study.cli.ok("retry", "state=failed")
    assert "note: phase doomed goes on: the breaker had paused it" in retried
    study.cli.ok("run", "doomed.yaml", seconds=RUN_SECONDS)
    assert study.totals() == {"completed": 7}
    assert study.home.manager() is None


def test_a_worker_and_a_manager_until_done_wait_and_say_what_for(study: Study) -> None:
    study.set_up(doomed(study))
    manager = study.manager.start("--until-done", "--breaker", "3")
    worker = study.worker()
    study.says("the phase is paused (doomed, by the breaker); `sqlqueue failures` tells why")
    assert "Phase doomed is paused by the breaker" in manager.said
    assert worker.poll() is None
    assert manager.process is not None
    assert manager.process.poll() is None
    (phase,) = study.figures()["phases"]
    assert (phase["paused"], phase["breaker"]["cells"]) == (True, 3)
    study.go("fixed")
    study.cli.ok("resume", "phase=doomed")
    assert study.worker_ends() == 0
    assert "Ended: 3 FAILED, 2 completed; `sqlqueue failures` tells why" in study.said
    assert manager.process.wait(SECONDS) == 0
    manager.process = None
    assert "every task is finished: 2 completed, 3 failed" in _sorted_counts(manager.said)
    assert study.totals() == {"completed": 2, "failed": 3}


def _sorted_counts(said: str) -> str:
    """The same, the counts in one order."""
    return said.replace("3 failed, 2 completed", "2 completed, 3 failed")


@pytest.mark.slow
def test_it_is_on_by_itself(study: Study) -> None:
    """Ten cells, of twelve."""
    sweep = study.write(
        "doomed.yaml", "results", "fail_unless_fixed", "doomed",
        combinations={"seed": list(range(12))}, max_attempts=1,
    )  # fmt: skip
    study.set_up(sweep)
    study.manager.start()
    study.worker("--wait")

    def is_paused() -> bool:
        return bool(study.figures()["phases"][0]["breaker"])

    wait_until(is_paused, SECONDS, "the breaker")
    assert study.totals() == {"failed": 10, "pending": 2}


@pytest.mark.slow
def test_zero_lets_everything_fail(study: Study) -> None:
    done = study.cli("run", doomed(study), "--breaker", "0", seconds=RUN_SECONDS)
    assert done.returncode == 1
    assert study.totals() == {"failed": len(SEEDS)}
    assert "breaker" not in done.stdout
