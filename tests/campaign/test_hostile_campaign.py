"""A hundred thousand hostile connections beside real workers, who go on undisturbed.

A real manager on TCP with TLS; the flood comes from a second network namespace and over the Unix
socket, at the lowest priority of this machine: what it costs its own host is not what is asked.
One worker runs here, another one on the other host.  How fast they are is measured before, during
and after; the manager's memory and descriptors before and after.  `HOSTILE=2000` for less.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from acceptance import rows_of
from elsewhere import Elsewhere, another_host
from tally import count
from test_hostile import flood, target

from sqlqueue import keys
from sqlqueue.home import NAME, Home
from support import Cli, ManagerProcess, environment, stop, wait_until

CONNECTIONS = int(os.environ.get("HOSTILE", "100000"))
PER_SECOND = 600.0
SECONDS = max(20.0, CONNECTIONS / PER_SECOND)
WINDOW_SECONDS = 15.0
TASKS = int(120 * (4 * SECONDS + 6 * WINDOW_SECONDS))
MOST_GROWTH_BYTES = 64 << 20
LEAST_RATIO = 0.2
"""Of the pace without a flood: this machine has the flood to carry too, and other work."""

EXPERIMENT = """\
import time
def measure(seed: int) -> dict:
    time.sleep(0.02)
    return {"value": seed}
"""


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_hostile_connections_disturb_nobody(cli: Cli, tmp_path: Path) -> None:
    furnish(tmp_path)
    cli.ok("init", "busy.yaml", seconds=300)
    with another_host() as there:
        manager = ManagerProcess(Home(tmp_path / NAME), cli, tmp_path / "manager.output")
        manager.start("--host", there.here, "--port", "0")
        try:
            with workers(manager, there, tmp_path):
                disturb(manager, there, tmp_path)
        finally:
            assert manager.stop() == 0
    assert "Traceback" not in manager.said
    nothing_went_wrong(manager, tmp_path)


def furnish(root: Path) -> None:
    (root / "busy.py").write_text(EXPERIMENT)
    seeds = list(range(TASKS))
    (root / "busy.yaml").write_text(
        f'defaults: {{output_dir: results, experiment: "busy:measure"}}\n'
        f"busy: {{combinations: [{{seed: {seeds}}}]}}\n"
    )


@contextmanager
def workers(manager: ManagerProcess, there: Elsewhere, root: Path) -> Iterator[None]:
    """One here and one on the other host, with two runners each."""
    folder = root / "there"
    folder.mkdir()
    (folder / "busy.py").write_text(EXPERIMENT)
    port = (manager.home.manager() or {})["port"]
    words = there.command(sys.executable, "-m", "sqlqueue", "work", "--cpu", "--slots", "2",
                          "--manager", f"{there.here}:{port}")  # fmt: skip
    own = environment(folder / "state", {"SQLQUEUE_TOKEN": keys.worker_token(manager.home)})
    here = manager.cli.start("work", "--cpu", "--slots", "2", output=root / "here.output")
    with (root / "there.output").open("ab") as sink:
        away = subprocess.Popen(words, cwd=folder, env=own, stdout=sink, stderr=sink)
    try:
        wait_until(lambda: completed(manager) > 50, 120, "the first results")
        yield
        assert here.poll() is None and away.poll() is None, "a worker gave up"
    finally:
        for each in (here, away):
            stop(each, 60)


def disturb(manager: ManagerProcess, there: Elsewhere, root: Path) -> None:
    assert manager.process
    process = psutil.Process(manager.process.pid)
    before = pace(manager, WINDOW_SECONDS)
    rss, fds = process.memory_info().rss, process.num_fds()
    begun, done = time.monotonic(), completed(manager)
    running = flood(
        root,
        target(manager.home, list(there.addresses), connections=CONNECTIONS, per_second=PER_SECOND),
        *there.command(),
    )
    try:
        highest = watched(process, running)
    finally:
        running.kill()
        running.wait()
    seconds = time.monotonic() - begun
    during = (completed(manager) - done) / seconds
    wait_until(lambda: process.num_fds() <= fds + 2, 30, "descriptors as before")
    after = pace(manager, WINDOW_SECONDS)
    told = json.loads((root / "flood.json").read_text())
    count("hostile connections", sum(told.values()))
    ratio = during / statistics.mean((before, after))
    print(
        f"\n{sum(told.values()):,} hostile connections in {seconds:.0f} s; tasks a second "
        f"{before:.1f} before, {during:.1f} during, {after:.1f} after: {ratio:.2f} of the pace; "
        f"memory {rss >> 20} MiB before, {highest[0] >> 20} at most, "
        f"{process.memory_info().rss >> 20} after; descriptors {fds} before, {highest[1]} at "
        f"most, {process.num_fds()} after\n{json.dumps(told)}"
    )
    assert sum(told.values()) == CONNECTIONS, (root / "flood.said").read_text()
    assert process.memory_info().rss - rss < MOST_GROWTH_BYTES
    assert ratio > LEAST_RATIO


def watched(process: psutil.Process, running: subprocess.Popen[bytes]) -> tuple[int, int]:
    """The most memory and descriptors that were seen until the flood was over."""
    most = [0, 0]

    def over() -> bool:
        most[0] = max(most[0], process.memory_info().rss)
        most[1] = max(most[1], process.num_fds())
        return running.poll() is not None

    wait_until(over, 20 * SECONDS, "the end of the flood")
    assert running.returncode == 0
    return most[0], most[1]


def pace(manager: ManagerProcess, seconds: float) -> float:
    """Results a second, for so long."""
    begun, done = time.monotonic(), completed(manager)
    wait_until(lambda: time.monotonic() - begun > seconds, seconds + 5)
    return (completed(manager) - done) / (time.monotonic() - begun)


def completed(manager: ManagerProcess) -> int:
    answer = manager.ask({"type": "status"}, seconds=60.0)
    return int(answer["status"]["totals"]["completed"])


def nothing_went_wrong(manager: ManagerProcess, root: Path) -> None:
    """Every attempt that ended was completed, or given back when its worker was told to stop."""
    assert manager.cli("verify", seconds=300).returncode == 0
    with closing(sqlite3.connect(f"file:{manager.home.database}?mode=ro", uri=True)) as base:
        outcomes = dict(base.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
    print(outcomes)
    assert set(outcomes) <= {"COMPLETED", "RELEASED"}, outcomes
    assert outcomes.get("RELEASED", 0) <= 4
    rows = rows_of(root / "results" / "final_results.csv")
    assert len(rows) == outcomes["COMPLETED"] == len({row["task_id"] for row in rows})
    for name in ("here.output", "there.output"):
        said = (root / name).read_text()
        assert "Saved locally" not in said
        assert "Traceback" not in said
