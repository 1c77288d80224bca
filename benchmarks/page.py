"""`docs/PERFORMANCE.md`, from the figures of a run.

Pure.  What is not here: measuring.  The words stand here, so that a new run brings new
figures and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.growing import KINDS, Growing
from benchmarks.measure import Series, short, table
from benchmarks.throughput import CLIENTS, Throughput
from benchmarks.training import Training

WAYS = {
    "many": f"sqlqueue, {CLIENTS} clients",
    "alone": "sqlqueue, 1 client",
    "naive": "naive: both CSVs read and written anew with pandas",
    "bare": "bare loop: one commit, two synced appends per result",
    "batched": f"bare loop: the same for every {CLIENTS} results",
}
RATIOS = [("many", "naive"), ("many", "bare"), ("many", "batched"), ("alone", "naive"),
          ("alone", "bare")]  # fmt: skip
PROCESSES = {
    "python": "`python -c pass`, for comparison",
    "help": "`sqlqueue --help`",
    "up": "`sqlqueue status`, manager running",
    "down": "`sqlqueue status`, no manager",
}


@dataclass(frozen=True)
class Run:
    """All figures of one run, and where they come from."""

    machine: Sequence[str]
    load: tuple[float, float]
    command: str
    date: str
    throughput: Throughput
    starting: dict[str, Series]
    tasks: int
    growing: Growing
    training: Training


def page(run: Run) -> str:
    """The whole page."""
    parts = [
        _head(run),
        _throughput(run.throughput),
        _starting(run.starting, run.tasks),
        _growing(run.growing),
        _training(run.training),
        _reading(run.throughput),
    ]
    return "\n\n".join(parts) + "\n"


def _head(run: Run) -> str:
    before, after = run.load
    busy = f"load average {before:.1f} when it began, {after:.1f} when it ended"
    lines = "\n".join(f"* {each}" for each in (*run.machine, busy))
    return f"""# Performance

Written by `{run.command}` on {run.date}. Figures are medians, with the
smallest and the largest of all rounds in brackets; what is compared took turns within one
run.

{lines}"""


def _throughput(found: Throughput) -> str:
    size = found.size
    rates = [[WAYS[way], found.rates[way].text()] for way in WAYS]
    ratios = [[f"{WAYS[one]} : {WAYS[other]}", found.rates[one].over(found.rates[other]).text(" x")]
              for one, other in RATIOS]  # fmt: skip
    ratio, bare = found.rates["many"].over(found.rates["bare"]), found.rates["bare"].values
    spread = f"{short(min(bare))} to {short(max(bare))}"
    return f"""## Results per second

Every result goes into the database and into two CSVs that hold {size.rows:,} rows before
the first round; {size.rounds} rounds. A client submits a result, waits for its ack, and submits the
next: an ack means that database and both CSVs are on stable storage. The clients are one
process, the manager another.

{table(["way", "results per second"], rates)}

{table(["ratio, round by round", "times"], ratios)}

With {CLIENTS} clients an ack took {short(found.typical_wait_ms)} ms in the median, \
{short(found.wait_ms(0.99))} ms for the slowest of a hundred.

* The **naive** way costs more the more rows there are, syncs nothing, and loses rows as soon
  as two processes do it at once. It is what a result costs in many a research script.
* The **bare loop** is the least that keeps the promise for one result at a time: no socket,
  no protocol, no look at whose file it is, no lifecycle, no attempts, no links. What sqlqueue
  reaches beyond it with {CLIENTS} clients comes from sharing one commit among whatever arrived
  during the last one.
* How these two compare depends on the disk: the more a sync costs, the more there is to share.
  Over the rounds the bare loop stored {spread} results per second, and the ratio
  went from {short(min(ratio.values))} to {short(max(ratio.values))}; where a sync costs next
  to nothing, the loop is quicker, and what limits sqlqueue is the processor.
* A **lone client** can be quicker than the bare loop: sqlqueue syncs the directories side by
  side, the loop one after the other.
* The bare loop **in batches** shares its commits just so, and does none of the work: it is a
  ceiling of the disk, and no program to compare with."""


def _starting(found: dict[str, Series], tasks: int) -> str:
    rows = [[text, found[key].text()] for key, text in PROCESSES.items()]
    count = len(found["python"].values)
    return f"""## From start to end of a command

Whole processes on a queue of {tasks:,} tasks, {count} runs of each, in milliseconds.

{table(["command", "ms"], rows)}"""


def _growing(found: Growing) -> str:
    inits = [[f"{cells:,}", found.first[cells].text(), found.again[cells].text(),
              short(cells / found.first[cells].median)] for cells in found.first]  # fmt: skip
    claims = [[f"{cells:,}", *(found.claim[cells, kind].text() for kind in KINDS)]
              for cells in found.first]  # fmt: skip
    return f"""## Large queues

`sqlqueue init` of a sweep whose cells two phases want for two directories, as a whole process,
in seconds; then the same command again, which adds nothing.

{table(["cells", "first", "again", "cells per second"], inits)}

A request for a task, one after the other over one connection, from the question to the
answer, its commit included, in milliseconds: GPU workers get the largest tasks first, CPU
workers the smallest.

{table(["tasks", "claim by a GPU worker", "claim by a CPU worker"], claims)}"""


def _training(found: Training) -> str:
    rows = [[each.dataset, f"`{each.model_type}`, width {each.width_factor}",
             f"{each.num_clients}, {each.optimizer}, {each.aggregator}",
             found.product[each].text(), found.loop[each].text(),
             found.product[each].over(found.loop[each]).text(" x")]
            for each in found.product]  # fmt: skip
    head = ["images", "model", "clients, optimizer, aggregator", "`poisoning`",
            "straightforward loop", "ratio, round by round"]  # fmt: skip
    return f"""## Rounds of training

Rounds per second of the built-in experiment on the processor, with one thread, aggregation and
validation included, and of the loop that one writes first: a `DataLoader` per client over its
images, one model after another, with the same optimizer, clipping and aggregation. `mnist` has a
thousand made-up images here.

{table(head, rows)}"""


def _reading(found: Throughput) -> str:
    pause = 1000 / found.rates["many"].median
    return f"""## What this means

* A result costs the same however many rows its CSVs have: rows are appended, never rewritten.
* To keep this manager busy on this machine, a thousand workers would have to finish a run
  every {short(pause)} s each. Runs take minutes to hours.
* What a lone client waits for is the disk: a sync per directory, side by side, and one for
  the database. Many clients share that wait, until the manager's processor is what limits.
* A claim is found by an index in the order of priority and cost, so that the queue's length
  hardly matters."""
