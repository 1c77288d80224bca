"""Whole tasks, requested, run and stored: by light clients, by real workers, and by peers.

Light clients say over a socket what a worker says, and run nothing: that is what the manager can
do.  Real workers are `sqlqueue work`, each with a child that runs an empty Python function; the
function itself notes when it begins and ends, so that what lies between two runs of one runner is
seen from where a researcher's code stands.
What is not here: how peers do it (`peers/`), results alone (`throughput.py`), the page.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import clients, large
from benchmarks.bench_queue import BenchQueue, bench_queue, command, environment
from benchmarks.measure import Figures, Series
from benchmarks.peers import programs

CLIENTS = 64
EMPTY = """\
import os
import time

notes = os.open(f"notes/{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def nothing(seed: int) -> dict:
    begun = time.monotonic_ns()
    ended = time.monotonic_ns()
    os.write(notes, b"%d %d\\n" % (begun, ended))
    return {"value": 0.5}
"""


@dataclass(frozen=True)
class Size:
    """Rounds, tasks per round of the light clients, of real workers, and a share of the peers'."""

    rounds: int = 5
    light: int = CLIENTS * 60
    work: int = 150
    crews: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (2, 4))
    """Workers, and the slots of each."""
    peers: bool = True


QUICK = Size(rounds=1, light=CLIENTS * 2, work=20, crews=((1, 1),), peers=False)


def measure(folder: Path, quick: bool) -> Figures:
    """Tasks per second, `whole/...`, in rounds in which all take turns."""
    size = QUICK if quick else Size()
    found = Figures()
    peers = programs.installed() if size.peers else []
    with bench_queue(folder) as queue:
        large.make(queue, large.Plan(2 * size.rounds * size.light, 0))
        queue.start()
        for _ in range(size.rounds):
            for what, act in _turns(queue, folder, size, found).items():
                os.sync()
                found.add(f"whole/{what}", act())
            for peer in peers:
                os.sync()
                found.add(f"whole/peer/{peer.name}", programs.run(peer, folder))
        queue.run("verify")
    return found


def _turns(
    queue: BenchQueue, folder: Path, size: Size, found: Figures
) -> dict[str, Callable[[], float]]:
    def light(mode: str) -> Callable[[], float]:
        return lambda: clients.run(mode, queue, clients.requests(CLIENTS, size.light)).rate

    turns = {"together": light("together"), "in_turn": light("in_turn")}
    for workers, slots in size.crews:
        turns[f"work/{workers}x{slots}"] = lambda workers=workers, slots=slots: _work(
            folder, workers, slots, size.work, found
        )
    return turns


def _work(folder: Path, workers: int, slots: int, count: int, found: Figures) -> float:
    """A queue of its own, worked off by real workers."""
    with bench_queue(folder) as queue:
        (queue.root / "empty.py").write_text(EMPTY)
        (queue.root / "notes").mkdir()
        what = {"experiment": "empty:nothing", "output_dir": "results_0"}
        queue.write({"empty": what | {"combinations": {"seed": f"range({count})"}}}, "sweep.yaml")
        queue.run("init", "sweep.yaml")
        queue.start()
        begun = time.monotonic_ns()
        crew = [_worker(queue, slots) for _ in range(workers)]
        if any(each.wait() for each in crew):
            raise SystemExit((queue.root / "work.log").read_text())
        return _read_notes(queue.root / "notes", begun, f"{workers}x{slots}", found)


def _worker(queue: BenchQueue, slots: int) -> subprocess.Popen[bytes]:
    with (queue.root / "work.log").open("ab") as log:
        return subprocess.Popen(
            command("work", "--cpu", "--slots", str(slots)), cwd=queue.root, env=environment(),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _read_notes(folder: Path, begun_ns: int, crew: str, found: Figures) -> float:
    """Tasks per second from the first run to the last; notes gaps, what a task costs, when the
    first one ran, and in how many processes they ran."""
    runners = [runs for each in folder.iterdir() if (runs := _runs(each))]
    count = sum(map(len, runners))
    seconds = (max(r[-1][1] for r in runners) - min(r[0][0] for r in runners)) / 1e9
    gaps = Series([(begun - ended) / 1e6 for runs in runners
                   for (_, ended), (begun, _) in itertools.pairwise(runs)])  # fmt: skip
    found.add(f"whole/gap_ms/{crew}/median", gaps.median)
    found.add(f"whole/gap_ms/{crew}/p99", gaps.share(0.99))
    busy = statistics.fmean((runs[-1][1] - runs[0][0]) / 1e6 / len(runs) for runs in runners)
    found.add(f"whole/overhead_ms/{crew}", busy)
    found.add(f"whole/first_ms/{crew}", (min(runs[0][0] for runs in runners) - begun_ns) / 1e6)
    found.add(f"whole/children/{crew}", len(runners))
    return count / seconds


def _runs(notes: Path) -> list[tuple[int, int]]:
    """When each run of one runner began and ended, in nanoseconds."""
    lines = (each.split() for each in notes.read_text().splitlines())
    return [(int(begun), int(ended)) for begun, ended in lines]
