"""`docs/PERFORMANCE.md`, from the figures of a run.

Pure.  What is not here: measuring, the goals (`goals.py`), the pictures (`plots.py`), what is said
of queues of a million tasks (`page_scale.py`).  The words stand here, so that a new run brings new
figures and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import goals, page_scale, page_training
from benchmarks.measure import Figures, table
from benchmarks.peers import programs

WAYS = {
    "naive": "naive: both CSVs read and written anew with pandas",
    "bare": "bare loop: one commit, two synced appends per result",
    "batched": "bare loop: the same for every 64 results",
}
PROCESSES = {
    "python": "`python -c pass`, for comparison",
    "sqlalchemy": "`python -c 'import sqlalchemy'`, for comparison",
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
    minutes: float
    quick: bool
    found: Figures


def page(run: Run, pictures: bool) -> str:
    """The whole page; a section of which nothing was measured is left out."""
    picture = _picture if pictures else _no_picture
    parts = [_head(run), _goals(run.found, picture)]
    parts += [section(run.found, picture) for section in SECTIONS]
    return "\n\n".join(each for each in parts if each) + "\n"


def _picture(name: str, says: str) -> str:
    return f"\n![{says}](performance/{name}.svg)\n"


def _no_picture(*_: str) -> str:
    return ""


Picture = Callable[[str, str], str]


def _head(run: Run) -> str:
    before, after = run.load
    busy = f"load average {before:.1f} when it began, {after:.1f} when it ended"
    peers = [f"peers: {', '.join(programs.versions())}"] if run.found.has("whole/peer/") else []
    small = ["a **quick** run: queues are small, and the figures mean nothing"] if run.quick else []
    lines = "\n".join(f"* {each}" for each in (*small, *run.machine, *peers, busy))
    return f"""# Performance

Written by `{run.command}` on {run.date}, in {run.minutes:.0f} minutes. Figures are medians, with
the smallest and the largest of all rounds in brackets. What is compared took turns within this one
run, and ratios are taken round by round: on another machine, or a busy day, they move far less
than the figures do. How each is measured stands in [benchmarks/](../benchmarks/README.md).

{lines}"""


def _goals(found: Figures, picture: Picture) -> str:
    says = "Each goal's ratio to its baseline, round by round"
    return f"""## Goals

{goals.judged(found)}
{picture("ratios", says)}"""


def _results(found: Figures, picture: Picture) -> str:
    if not found.has("submit/bare"):
        return ""
    counts = _counts(found)
    rates = [[f"sqlqueue, {count} client{'s' * (count != '1')}", found[f"submit/{count}"].text(),
              found[f"submit/{count}"].over(found["submit/bare"]).text(" x"),
              found[f"submit/ack_ms/{count}"].text(" ms"),
              found[f"submit/ack_p99_ms/{count}"].text(" ms")] for count in counts]  # fmt: skip
    rates += [[WAYS[way], found[f"submit/{way}"].text(),
               found[f"submit/{way}"].over(found["submit/bare"]).text(" x"), "", ""]
              for way in WAYS]  # fmt: skip
    rows, number = found["submit/rows"].median, len(found["submit/bare"].values)
    head = ["way", "results per second", "to the bare loop", "ack, median", "of 100 the slowest"]
    return f"""## Results per second

Every result goes into the database and into two CSVs that hold {rows:,.0f} rows before
the first round; rounds: {number}. A client submits a result, waits for its ack, and submits the
next: an ack means that database and both CSVs are on stable storage. The clients are one
process, the manager another.

{table(head, rates)}
{picture("results", "Results per second by number of clients, beside the baselines")}
* The **naive** way costs more the more rows there are, syncs nothing, and loses rows as soon
  as two processes do it at once. It is what a result costs in many a research script.
* The **bare loop** is the least that keeps the promise for one result at a time: no socket,
  no protocol, no look at whose file it is, no lifecycle, no attempts, no links. What sqlqueue
  reaches beyond it with many clients comes from sharing one commit among whatever arrived
  during the last one.
* The bare loop **in batches** shares its commits just so, and does none of the work: it is a
  ceiling of the disk.
* How they compare depends on the disk: the more a sync costs, the more there is to share. Where it
  costs next to nothing, what limits sqlqueue is the processor."""


def _counts(found: Figures) -> list[str]:
    return [each for each in found.below("submit/") if each.isdigit()]


def _whole(found: Figures, picture: Picture) -> str:
    if not found.has("whole/together"):
        return ""
    peers = found.below("whole/peer/")
    over = [f"whole/peer/{each}" for each in peers if each in ("huey", "litequeue")]
    rows = [["64 light clients, report and next request together", *_rate(found, "together", over)],
            ["64 light clients, one after the other", *_rate(found, "in_turn", over)]]  # fmt: skip
    rows += [[f"`sqlqueue work`: {_crew(each)}", *_rate(found, f"work/{each}", over)]
             for each in found.below("whole/work/")]  # fmt: skip
    rows = [[*row, "nothing that was acked"] for row in rows]
    rows += [[programs.BY_NAME[each].title, *_rate(found, f"peer/{each}", over),
              programs.BY_NAME[each].loses] for each in peers]  # fmt: skip
    head = ["way", "tasks per second", *(f"to {each.rpartition('/')[2]}" for each in over),
            "what a power cut loses"]  # fmt: skip
    return f"""## Whole tasks, and the peers

A task is requested, run and stored; all were there before. \
Rounds: {len(found["whole/together"].values)}. Light clients run nothing.
Workers and peers run a function that does nothing, on the two cores of this machine, as many
processes as stand beside each. The peers are what their packages are, in an environment of their
own; sqlqueue alone appends each result to a CSV besides, and supervises each run from outside.

{table(head, rows)}
{picture("peers", "Whole tasks per second, of sqlqueue and of its peers")}
{_durability(peers)}
{_runners(found)}"""


def _runners(found: Figures) -> str:
    keys = ("gap_ms/{}/median", "gap_ms/{}/p99", "overhead_ms/{}", "first_ms/{}", "children/{}")
    rows = [[_crew(each), *(found[f"whole/{key}".format(each)].text() for key in keys)]
            for each in found.below("whole/work/")]  # fmt: skip
    head = ["workers", "gap, median", "gap, of 100 the longest", "per task", "first run",
            "children"]  # fmt: skip
    return f"""From the end of one run to the beginning of the next on one runner, as the function
itself sees it; what a task takes of a runner when it does nothing; from the start of `sqlqueue
work` to the first run, all in milliseconds; and how many processes ran all the tasks: a warm child
is used again, so that nothing is imported between two of them.

{table(head, rows)}"""


def _rate(found: Figures, key: str, over: Sequence[str]) -> list[str]:
    mine = found[f"whole/{key}"]
    return [mine.text(), *(mine.over(found[each]).text(" x") for each in over)]


def _crew(key: str) -> str:
    workers, slots = key.split("x")
    return f"{workers} worker{'s' * (workers != '1')}, {slots} runner{'s' * (slots != '1')} each"


def _durability(peers: Sequence[str]) -> str:
    """What each peer does to keep what it has, and which could not be had."""
    lines = [f"* **{programs.BY_NAME[each].title}**: {programs.BY_NAME[each].durable}"
             for each in peers]  # fmt: skip
    lines += [f"* **{each.title}** is not here: {why}" for each, why in programs.missing().items()]
    return "\n".join(lines) + "\n" if lines else ""


def _starting(found: Figures, _: Picture) -> str:
    if not found.has("start/python"):
        return ""
    rows = [[text, found[f"start/{key}"].text(), *_to_bare(found, key)]
            for key, text in PROCESSES.items()]  # fmt: skip
    head = ["command", "ms", "to bare Python", "to `import sqlalchemy`"]
    tasks, count = found["start/tasks"].median, len(found["start/python"].values)
    return f"""## From start to end of a command

Whole processes on a queue of {tasks:,.0f} tasks, {count} runs of each, in turn, in milliseconds.

{table(head, rows)}"""


def _to_bare(found: Figures, key: str) -> list[str]:
    beside = "_up" if key == "up" else ""
    return [found[f"start/{key}"].over(found[f"start/{each}{beside}"]).text(" x")
            for each in ("python", "sqlalchemy")]  # fmt: skip


def _tried(_: Figures, __: Picture) -> str:
    """Said by whoever tried it, not measured by this run."""
    return """## What did not help

Tried by hand, each in turns with the version beside it, and left out again:

* the interpreter's switch interval at 0.3 ms instead of 5, so that the writer gets it back from the
  loop sooner: 1.01 times as many results of 64 clients;
* a checkpoint of the log every 4,000 pages instead of 1,000: 1.04 times as many results of 64
  clients and 1.01 of one, and a slower slowest of a hundred acks;
* a cache of 512 MB for the database instead of 64: 0.99 times as many whole tasks of 64 clients
  among 1,200,000;
* the commit in the loop's own thread: from there to the writer's thread and back takes 0.06 ms of
  the 4 that a lone client waits, so that it was not built; a slow disk would hold up heartbeats;
* a thread for each of two directories: on a disk whose sync takes less than a millisecond waking it
  takes longer than the sync (`store/lanes.py` begins with one, and adds others when it is late)."""


SECTIONS: Sequence[Callable[[Figures, Picture], str]] = (
    _results, _whole, page_scale.growing, page_scale.million, _starting, page_training.training,
    _tried,
)  # fmt: skip
"""Other parts of a run add theirs here."""
