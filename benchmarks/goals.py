"""What sqlqueue is to reach, and whether this run reached it.

Pure.  Each goal reads its figure from what was measured; the median decides.  What is not here:
why one was missed (`causes.py`), measuring, and the rest of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.causes import CAUSES, UNKNOWN
from benchmarks.measure import Figures, Series, short, table

Of = Callable[[Figures], Series]
BEST_PEER = "the quickest peer"
DURABLE_PEER = "a task of litequeue, on one of 2"
_DURABLE = ("whole/peer/litequeue", 2)
HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000


@dataclass(frozen=True)
class Goal:
    """`least`: the figure must be at least the limit, otherwise at most.  `needs`: the keys without
    which nothing is known.  `ratio`: to the baseline, in the same run."""

    key: str
    what: str
    figure: Of
    limit: float
    needs: tuple[str, ...]
    least: bool = False
    unit: str = ""
    baseline: str = ""
    ratio: Of | None = None

    def is_reached(self, found: Figures) -> bool:
        median = self.figure(found).median
        return median >= self.limit if self.least else median <= self.limit

    @property
    def target(self) -> str:
        return f"{'at least' if self.least else 'at most'} {short(self.limit)}{self.unit}"


def of(key: str) -> Of:
    return lambda found: found[key]


def over(key: str, other: str) -> Of:
    return lambda found: found[key].over(found[other])


def _ratio(
    key: str, what: str, one: str, other: str, limit: float, baseline: str, *, least: bool = True
) -> Goal:
    """A goal that is itself a ratio."""
    figure = over(one, other)
    return Goal(key, what, figure, limit, (one, other), least, " x", baseline, figure)


def best_peer(found: Figures) -> Series:
    """Round by round the quickest peer, whatever it loses on a power cut."""
    peers = [found[key].values for key in found if key.startswith("whole/peer/")]
    return Series([max(each) for each in zip(*peers, strict=True)])


def _over_best(key: str) -> Of:
    return lambda found: found[key].over(best_peer(found))


def _least_training(found: Figures) -> Series:
    """Of the cell that gains least."""
    cells = [each for each in found.below("training/product/") if each.startswith("digits")]
    ratios = [
        found[f"training/product/{each}"].over(found[f"training/loop/{each}"]) for each in cells
    ]
    return min(ratios, key=lambda each: each.median)


def _times(found: Figures, milliseconds: str, rate: str, count: int) -> Series:
    """How many times what `count` of them take at that rate per second."""
    baseline = Series([1000 * count / each for each in found[rate].values])
    return found[milliseconds].over(baseline)


def _slow_down(found: Figures) -> Series:
    return Series([100 * (1 - each) for each in
                   found["status/watched"].over(found["status/unwatched"]).values])  # fmt: skip


def _million(found: Figures, what: str) -> Series:
    """Of a million cells, or ten times what a hundred thousand took."""
    if found.has(f"init/{what}/{MILLION}"):
        return found[f"init/{what}/{MILLION}"]
    return found[f"init/{what}/{HUNDRED_THOUSAND}"].times(MILLION / HUNDRED_THOUSAND)


_INIT = (f"init/first/{HUNDRED_THOUSAND}",)
_INSERT = "one table, one transaction"
_IMPORT = "`import sqlalchemy`"
GOALS = (
    _ratio("one", "results, 1 client", "submit/1", "submit/bare", 0.5, "bare loop, one at a time"),
    _ratio("batched", "results, 64 clients", "submit/64", "submit/batched", 0.4,
           "bare loop, 64 at a time"),
    _ratio("thousand", "results, 1,000 clients", "submit/1000", "submit/64", 1.0, "64 clients"),
    Goal("ack", "slowest of 100 acks, 64 clients", of("submit/ack_p99_ms/64"), 20,
         ("submit/ack_p99_ms/64",), unit=" ms", baseline="bare loop, 64 results",
         ratio=lambda found: _times(found, "submit/ack_p99_ms/64", "submit/batched", 64)),
    _ratio("flat", "a result beside 1,000,000 rows, 64 clients", "rows/64/1000",
           f"rows/64/{MILLION}", 1.1, "beside 1,000 rows", least=False),
    _ratio("flat_one", "a result beside 1,000,000 rows, 1 client", "rows/1/1000",
           f"rows/1/{MILLION}", 1.1, "beside 1,000 rows", least=False),
    _ratio("flat_mb", "the manager's memory beside 1,000,000 rows", f"rows/mb/{MILLION}",
           "rows/mb/1000", 1.1, "beside 1,000 rows", least=False),
    Goal("overhead", "overhead per task, one worker", of("whole/overhead_ms/1x1"), 3,
         ("whole/overhead_ms/1x1",), unit=" ms", baseline=DURABLE_PEER,
         ratio=lambda found: _times(found, "whole/overhead_ms/1x1", *_DURABLE)),
    Goal("gap", "from one run to the next", of("whole/gap_ms/1x1/median"), 1,
         ("whole/gap_ms/1x1/median",), unit=" ms", baseline=DURABLE_PEER,
         ratio=lambda found: _times(found, "whole/gap_ms/1x1/median", *_DURABLE)),
    Goal("warm", "processes that run the tasks of one runner", of("whole/children/1x1"), 1,
         ("whole/children/1x1",)),
    Goal("light", "whole tasks, 64 light clients", of("whole/together"), 6_000,
         ("whole/together",), least=True, unit=" per second", baseline=BEST_PEER,
         ratio=_over_best("whole/together")),
    Goal("peers", "whole tasks, 2 real workers", _over_best("whole/work/2x1"), 1.0,
         ("whole/work/2x1", "whole/peer/"), least=True, unit=" x",
         baseline=BEST_PEER, ratio=_over_best("whole/work/2x1")),
    Goal("init", "`init` of 1,000,000 cells, or ten times 100,000",
         lambda found: _million(found, "first"), 40, _INIT, unit=" s", baseline=_INSERT,
         ratio=over(f"init/first/{HUNDRED_THOUSAND}", f"init/bare/{HUNDRED_THOUSAND}")),
    Goal("init_mb", "its memory, of the most cells measured", lambda found: _largest(found), 300,
         _INIT, unit=" MB", baseline="of 1,000 cells",
         ratio=lambda found: Series([_largest(found).median / found["init/first_mb/1000"].median])),
    Goal("again", "`init` of the same again", lambda found: _million(found, "again"), 20, _INIT,
         unit=" s", baseline=_INSERT,
         ratio=over(f"init/again/{HUNDRED_THOUSAND}", f"init/bare/{HUNDRED_THOUSAND}")),
    Goal("later", "100,000 rows for a directory added later", of("later/seconds"), 3,
         ("later/seconds",), unit=" s", baseline="read and written by hand",
         ratio=over("later/seconds", "later/bare_seconds")),
    Goal("status", "`status` of 1,000,000 tasks, 64 clients at work", of("status/busy_ms"), 20,
         ("status/busy_ms",), unit=" ms", baseline="counted by hand, nobody at work",
         ratio=over("status/busy_ms", "status/count_ms")),
    Goal("slow_down", "what it slows them", _slow_down, 2, ("status/watched",), unit=" %",
         baseline="nobody looks", ratio=over("status/watched", "status/unwatched")),
    Goal("claim", "a claim among 1,000,000, in the database", of(f"claim/store_us/{MILLION}"), 100,
         (f"claim/store_us/{MILLION}",), unit=" us", baseline="bare indexed update",
         ratio=over(f"claim/store_us/{MILLION}", f"claim/bare_us/{MILLION}")),
    Goal("ready", "answers after a kill, 1,000,000 tasks", of("million/ready_seconds"), 3,
         ("million/ready_seconds",), unit=" s", baseline=_IMPORT,
         ratio=lambda found: found["million/ready_seconds"].times(1000)
         .over(found["million/sqlalchemy_ms"])),
    Goal("workers", "1,000 workers are back", of("million/workers_seconds"), 5,
         ("million/workers_seconds",), unit=" s", baseline=_IMPORT,
         ratio=lambda found: found["million/workers_seconds"].times(1000)
         .over(found["million/sqlalchemy_ms"])),
    Goal("training", "rounds of training on `digits`, the least of all cells", _least_training, 3,
         ("training/product/",), least=True, unit=" x", baseline="the straightforward loop",
         ratio=_least_training),
    # 120, 200 and 450 ms where `import sqlalchemy` takes 200.
    _ratio("help", "`--help`", "start/help", "start/sqlalchemy", 0.6, _IMPORT, least=False),
    _ratio("up", "`status`, manager running", "start/up", "start/sqlalchemy_up", 1.0, _IMPORT,
           least=False),
    _ratio("down", "`status`, no manager", "start/down", "start/sqlalchemy", 2.25, _IMPORT,
           least=False),
)  # fmt: skip
"""Others add theirs here."""


def _largest(found: Figures) -> Series:
    size = MILLION if found.has(f"init/first_mb/{MILLION}") else HUNDRED_THOUSAND
    return found[f"init/first_mb/{size}"]


def judged(found: Figures) -> str:
    """The table of goals, and below it why those were missed that were."""
    rows, missed = [], []
    for goal in GOALS:
        if not found.has(*goal.needs):
            rows.append([goal.what, goal.target, "not measured", goal.baseline, "", ""])
            continue
        is_reached = goal.is_reached(found)
        ratio = goal.ratio(found).text(" x") if goal.ratio and _has_ratio(goal, found) else ""
        rows.append([goal.what, goal.target, goal.figure(found).text(goal.unit), goal.baseline,
                     ratio, "yes" if is_reached else "**no**"])  # fmt: skip
        if not is_reached:
            missed.append(f"* **{goal.what}**: {CAUSES.get(goal.key, UNKNOWN)}")
    head = ["goal", "target", "measured", "baseline", "ratio to it", "reached"]
    why = ["Where it falls short:\n", *missed] if missed else ["Nothing falls short."]
    return "\n".join([table(head, rows), "", *why])


def _has_ratio(goal: Goal, found: Figures) -> bool:
    """A run without peers has none to compare with."""
    return goal.baseline not in (BEST_PEER, DURABLE_PEER) or found.has("whole/peer/litequeue")
