"""Why a goal is missed, in a sentence each, by the goal's key (`goals.py`).

Filled in by whoever knows, after a run on a quiet machine; the page takes a sentence from here only
while its goal is missed.  What is not here: figures, which would be of another run.
"""

from __future__ import annotations

UNKNOWN = "The cause is not known yet."

CAUSES: dict[str, str] = {
    "flat_mb": (
        "the database's cache of 64 MB: full beside a million rows, still filling beside a "
        "thousand. With it full nothing grows from round to round."
    ),
    "one": (
        "a third of the time is the disk's three syncs; the rest are fourteen statements and the "
        "pages of log that they change (whose manager, whose attempt, which "
        "directories, counts, durations), the lane that could be given up on if a directory hung, "
        "and the way through socket, loop and thread. The bare loop does none of it."
    ),
    "batched": (
        "the processor. Per result about half is Python (decoding, JSON, rows of some forty cells, "
        "log lines), a quarter SQLite, a fifth the kernel; where the bare loop appends a row of a "
        "table, a result changes its task, its attempt, its links' rows, the counts and four "
        "indexes, of which in a large queue most have a page of their own."
    ),
    "ack": (
        "64 clients are two batches, one on its way while the other is committed: an ack waits for "
        "two transactions, each of them as long as its results take the processor; a checkpoint of "
        "the log comes on top now and then."
    ),
    "flat": (
        "beside a thousand rows many share a page of an index, beside a million each has its own: "
        "64 results write three times as much of the log, with the same statements and rows "
        "looked at (`tests/test_flat.py`, at 1,000 and at 1,000,000). A larger cache did not help."
    ),
    "flat_one": (
        "as with 64 clients; the rounds of one client differ among themselves by more than that."
    ),
    "overhead": (
        "the gap below is nearly all of it: a task that does nothing waits for the one transaction "
        "that takes its result and gives out the next, and for an ending that is a durable file "
        "before anybody hears of it (three syncs), so that a worker that dies loses nothing."
    ),
    "gap": (
        "a task is started only when it is durable that this worker runs it, and that is the "
        "transaction which takes the result before. Starting the reserved one earlier would run it "
        "twice where another worker was given it; holding one back for each worker would leave it "
        "waiting behind a long run while others idle. Runs take minutes."
    ),
    "light": (
        "the processor: report and request are two messages, each with what the two causes above "
        "say, and the client's process has one of the two cores for itself."
    ),
    "peers": (
        "a peer calls a function in a process that goes on; here each run has its order, its log, "
        "its durable ending and a supervisor which outlives it, a row in a CSV, and a claim and a "
        "result that no power cut takes back. Of the peers only litequeue keeps that last promise."
    ),
    "init": (
        "two fifths are SQLite's: a task is in three tables and eight indexes, of which those of "
        "signatures are gone to in random order; another third is Python, which expands, checks "
        "and signs every cell of both files; all of it on one core."
    ),
    "again": (
        "half is expanding, checking and signing every cell of both files anew, the other half "
        "looking each up by its signature and noting that this `init` found it."
    ),
    "later": (
        "`init` as a whole is timed: the file is expanded and each cell looked up, wished for and "
        "linked, as with any other file; delivering alone is two fifths, half of that forming rows "
        "of some forty cells in Python."
    ),
    "status": (
        "with nobody at work it takes about half as long: fifty directories, the workers and the "
        "failures, in some twenty statements. Beside a busy writer, the thread that reads the "
        "figures waits for the interpreter at each of them."
    ),
    "slow_down": (
        "a look takes the interpreter some 10 ms from the writer, one each second thus 1 %; the "
        "rounds differ among themselves by ten times as much."
    ),
    "claim": (
        "measured as the manager does it for one. The largest parts are the task's move, which "
        "takes it out of three indexes and changes the counts of its phases and directories, and "
        "the attempt's row: what belongs to a signature is on pages far apart. It hardly grows "
        "with the queue, and many claims together cost less each."
    ),
    "training": (
        "the wide models: a step of them keeps the processor busy with multiplications that are "
        "the same in either way; what stacking saves is the work around them. Nowhere is it slower "
        "than the loop beyond the noise of the rounds."
    ),
}
