"""An ETA is right within a factor of two, on sweeps whose cells differ by a hundred.

A queue is played with a virtual clock: workers take cells as the manager hands them out, and the
durations are those of a made-up experiment with its scatter.  Now and then what is known by then
is asked how long the rest will take, and compared with how long it took.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sqlqueue.plan.forecast import Progress, Runner, Waiting, finish, remaining
from sqlqueue.plan.pace import Paces, Seen, Shape, shape_of


@dataclass
class Cell:
    shape: Shape
    seconds: float


@dataclass
class Played:
    """One play; `asked`: (how much of the work was done, estimate, what it really took)."""

    cells: list[Cell]
    workers: int
    smallest_first: bool
    seen: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    shapes: dict[str, Shape] = field(default_factory=dict)
    guesses: list[tuple[float, float, float | None]] = field(default_factory=list)

    def asked(self) -> Iterator[tuple[float, float | None, float]]:
        """(share of the time that had passed, estimate, what it really took), now and then."""
        order = sorted(self.cells, key=lambda each: each.shape.cost)
        queue = order[::-1] if self.smallest_first else order  # taken from the end
        running: list[tuple[float, float, int, Cell]] = []
        now, number = 0.0, 0
        while queue or running:
            while queue and len(running) < self.workers:
                cell, number = queue.pop(), number + 1
                heapq.heappush(running, (now + cell.seconds, now, number, cell))
            self.guesses.append((now, 0.0, self.guess(queue, running, now)))
            now, _, _, cell = heapq.heappop(running)
            self.seen[cell.shape.key].append(cell.seconds)
            self.shapes[cell.shape.key] = cell.shape
        for at, _, guess in self.guesses:
            yield at / now, guess, now - at

    def paces(self) -> Paces:
        return Paces(
            Seen(self.shapes[key], "cpu", tuple(seconds[-9:]), len(seconds))
            for key, seconds in self.seen.items()
        )

    def guess(
        self, queue: list[Cell], running: list[tuple[float, float, int, Cell]], now: float
    ) -> float | None:
        paces = self.paces()
        counts = Counter(each.shape.key for each in queue)
        shapes = {each.shape.key: each.shape for each in queue}
        waiting = []
        for key, shape in shapes.items():
            seconds = paces.seconds(shape, "cpu")
            if seconds is None:
                return None
            waiting.append(Waiting(key, counts[key], 0, shape.cost, {"cpu": seconds}))
        busy = [remaining(paces.seconds(each.shape, "cpu"), now - at) for _, at, _, each in running]
        if None in busy:
            return None
        runners = [Runner("cpu", self.smallest_first, each or 0.0) for each in busy]
        ends = finish(waiting, runners)
        assert ends is not None
        return max([*ends.values(), *(each or 0.0 for each in busy)])


def declared(chance: random.Random) -> list[Cell]:
    """Costs from 1 to 100 that a declaration knows, and durations that scatter around them."""
    return [
        Cell(
            shape_of("m:f", {"width": width, "ratio": ratio, "seed": seed}, (), float(width)),
            3 * width * chance.lognormvariate(0, 0.3),
        )
        for width in (1, 2, 5, 10, 20, 50, 100)
        for ratio in range(4)
        for seed in range(5)
    ]


def undeclared(chance: random.Random) -> list[Cell]:
    """The same of somebody's own function: nobody says what costs how much, in no order."""
    cells = [
        Cell(
            shape_of("m:f", {"n": n, "lr": lr, "model": model, "seed": seed}, (), 1.0),
            n * (3 if model == "deep" else 1) * chance.lognormvariate(0, 0.2),
        )
        for n in (1, 3, 10, 33)
        for lr in (0.1, 0.01)
        for model in ("deep", "flat")
        for seed in range(5)
    ]
    chance.shuffle(cells)
    return cells


def wrongly_declared(chance: random.Random) -> list[Cell]:
    """A cost of which only the order is right: durations grow more slowly."""
    return [
        Cell(
            shape_of("m:f", {"width": width, "seed": seed}, (), float(width)),
            30 * width ** (2 / 3) * chance.lognormvariate(0, 0.2),
        )
        for width in (1, 4, 16, 64, 256, 1024)
        for seed in range(40)
    ]


SWEEPS = {
    "declared": (declared, 0.1),
    "undeclared": (undeclared, 0.15),
    "wrongly declared": (wrongly_declared, 0.65),
}
"""From which share of the time on an estimate is to be right: what is declared helps."""


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("smallest_first", [False, True], ids=["largest first", "smallest first"])
@pytest.mark.parametrize("workers", [1, 4, 9])
def test_within_a_factor_of_two(sweep: str, smallest_first: bool, workers: int) -> None:
    """Until so little is left that one cell decides."""
    make, begin = SWEEPS[sweep]
    cells = make(random.Random(f"{sweep} {workers}"))
    longest = max(each.seconds for each in cells)
    checked = 0
    for share, guess, truth in Played(cells, workers, smallest_first).asked():
        if share < begin or truth < longest:
            continue
        assert guess is not None
        assert truth / 2 <= guess <= truth * 2, (share, guess, truth)
        checked += 1
    assert checked >= 3


def test_nothing_is_said_while_nothing_is_known() -> None:
    first = next(Played(declared(random.Random(1)), 4, False).asked())
    assert first[1] is None


# --- the play ---------------------------------------------------------------------------------


def waiting(key: str, count: int, seconds: float, cost: float = 1.0, priority: int = 0) -> Waiting:
    return Waiting(key, count, priority, cost, {"cpu": seconds})


def test_work_is_shared() -> None:
    assert finish([waiting("a", 12, 10.0)], [Runner("cpu")] * 4) == {"a": 30.0}


def test_one_long_cell_is_not_shared() -> None:
    cells = [waiting("short", 30, 1.0, 1.0), waiting("long", 1, 100.0, 50.0)]
    assert finish(cells, [Runner("cpu")] * 3) == {"long": 100.0, "short": 15.0}
    assert finish(cells, [Runner("cpu", True)] * 3) == {"short": 10.0, "long": 110.0}


def test_what_runs_comes_first() -> None:
    busy = [Runner("cpu", busy_seconds=50.0), Runner("cpu", busy_seconds=0.0)]
    assert finish([waiting("a", 3, 10.0)], busy) == {"a": 30.0}
    assert finish([], busy) == {}


def test_the_higher_priority_comes_first() -> None:
    cells = [waiting("low", 5, 10.0, cost=9.0), waiting("high", 5, 10.0, priority=1)]
    assert finish(cells, [Runner("cpu")]) == {"low": 100.0, "high": 50.0}


def test_devices_take_their_own_time_and_their_own_end_of_the_queue() -> None:
    cells = [
        Waiting("small", 10, 0, 1.0, {"cpu": 10.0, "cuda": 5.0}),
        Waiting("large", 10, 0, 9.0, {"cpu": 1000.0, "cuda": 10.0}),
    ]
    found = finish(cells, [Runner("cuda"), Runner("cpu", True)])
    assert found == {"large": 100.0, "small": 100.0}


def test_a_runner_of_which_nothing_is_known_is_left_out() -> None:
    cells = [waiting("a", 10, 10.0)]
    assert finish(cells, [Runner("cpu"), Runner("cuda")]) == {"a": 100.0}
    assert finish(cells, [Runner("cuda")]) is None


def test_a_million_cells_are_played_in_few_steps() -> None:
    """Short ones some at a time, which is off by little; a long one never waits for them."""
    cells = [waiting("short", 1_000_000, 1.0), waiting("long", 64, 1000.0, 9.0)]
    found = finish(cells, [Runner("cpu")] * 64)
    assert found is not None
    assert found["long"] == 1000.0
    assert found["short"] == pytest.approx((1_000_000 + 64_000) / 64, rel=0.05)


# --- what runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "elapsed", "progress", "left"),
    [
        (100.0, 30.0, None, 70.0),
        (100.0, 99.0, None, 9.9),
        (100.0, 500.0, None, 50.0),
        (None, 30.0, None, None),
        (None, 30.0, Progress(3, 30.0, 7, 0.0), 70.0),
        (10.0, 30.0, Progress(3, 30.0, 7, 5.0), 65.0),
        (100.0, 30.0, Progress(0, 0.0, 10, 0.0), 70.0),
        (None, 30.0, Progress(3, 3.0, 1, 50.0), 0.0),
    ],
)
def test_what_runs_is_judged_by_itself_where_it_says_how_far_it_is(
    expected: float | None, elapsed: float, progress: Progress | None, left: float | None
) -> None:
    assert remaining(expected, elapsed, progress) == (None if left is None else pytest.approx(left))
