"""The clock is set by a day, or was wrong for years: only times for people to read are.

Real processes under libfaketime, which lies about the time of day and not about the monotonic
clock, as `date --set` does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acceptance import SECONDS, Study
from crash_scenarios import by_rename
from needs import need

from sqlqueue.doctor import certificate
from support import wait_until

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
SEEDS = [1, 2, 3, 4]


@pytest.fixture
def lying() -> dict[str, str]:
    """An environment for who is to be lied to; monotonic time is left alone."""
    need(LIBRARY is not None, "libfaketime (apt: faketime)")
    return {"LD_PRELOAD": str(LIBRARY), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def sweep(study: Study, function: str) -> str:
    return study.write("sweep.yaml", "results", function, combinations=[{"seed": SEEDS}])


@pytest.mark.parametrize("ahead", ["+3d", "-25y"])
def test_a_home_of_another_time_lets_its_workers_in(
    study: Study, lying: dict[str, str], ahead: str
) -> None:
    """Its certificate is not valid yet, or no more: the token names it, and that is enough."""
    study.cli.ok("init", sweep(study, "other"), **lying, FAKETIME=ahead)
    (found,) = [each.kind for each in certificate.check(study.home)]
    assert found.name == ("certificate-not-yet" if ahead == "+3d" else "certificate-expired")
    study.manager.start("--port", "0")
    study.cli.environment["SQLQUEUE_TOKEN"] = study.cli.ok("token").strip()
    port = (study.home.manager() or {})["port"]
    study.work("--manager", f"127.0.0.1:{port}")
    assert study.totals() == {"completed": len(SEEDS)}
    study.cli.ok("verify")


def test_the_clock_jumps_while_tasks_run(
    study: Study, lying: dict[str, str], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    lying |= {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
    by_rename(clock, b"+0\n")
    study.set_up(sweep(study, "wait"))
    study.manager.start(**lying)
    study.cli.environment.update(lying)
    study.worker("--slots", "2")
    study.started(1)
    study.started(2)
    for number, days in enumerate((1, -1), 1):
        lost_by(study, "somebody silent")
        by_rename(clock, b"%+d\n" % (days * DAY.total_seconds()))
        wait_until(lambda: days_ahead(study) == days, SECONDS, "the manager's clock")  # noqa: B023
        wait_until(lambda: study.attempts().count("LOST") == number, SECONDS, "a loss")  # noqa: B023
        assert study.attempts().count("RUNNING") == 2
    study.go()
    assert study.worker_ends() == 0, study.said
    assert sorted(study.attempts()) == ["COMPLETED"] * len(SEEDS) + ["LOST"] * 2
    assert sorted(int(row["seed"]) for row in study.rows("results")) == SEEDS
    assert study.manager.stop() == 0


def days_ahead(study: Study) -> int:
    """Of the manager's clock."""
    as_of = study.manager.ask({"type": "status"})["status"]["as_of"]
    return round((datetime.fromisoformat(as_of) - datetime.now(UTC)) / DAY)


def lost_by(study: Study, name: str) -> None:
    """Takes a task: when its lease is over, the manager has looked at all of them."""
    ask = {"type": "request_task", "worker_id": name, "lease_seconds": 5.0}
    assert study.manager.ask(ask)["type"] == "task"
