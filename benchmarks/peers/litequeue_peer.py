"""litequeue with full sync: two processes that pop, run, store the result, and say done.

    .venv-peers/bin/python litequeue_peer.py FOLDER TASKS

The queue keeps no results, so each goes into a SQLite file beside it, synced too, before the task
is said to be done: whatever comes between, the task is run once more and not lost.
"""

import json
import multiprocessing
import sqlite3
import sys
import time
from pathlib import Path

from litequeue import LiteQueue

WORKERS = 2


def opened(folder):
    """The queue, with `synchronous = FULL` for its own NORMAL."""
    try:
        queue = LiteQueue("bench", folder=folder, timeout=60)
    except TypeError:  # before it named its own files
        queue = LiteQueue(str(folder / "bench.db"), timeout=60)
    queue.conn.execute("PRAGMA synchronous = FULL")
    return queue


def results(folder):
    base = sqlite3.connect(folder / "results.db", isolation_level=None, timeout=60)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = FULL")
    base.execute("CREATE TABLE IF NOT EXISTS results (task TEXT PRIMARY KEY, result TEXT)")
    return base


def work(folder, begin, times):
    queue, base = opened(folder), results(folder)
    begin.wait()
    ran = []
    while (message := queue.pop()) is not None:
        ran.append(time.monotonic())
        base.execute("INSERT INTO results VALUES (?, ?)", (message.message_id, "0.5"))
        queue.done(message.message_id)
    times.put((len(ran), min(ran, default=None), time.monotonic()))


def main():
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    queue = opened(folder)
    queue.conn.execute("PRAGMA synchronous = OFF")  # queueing is not what is measured
    for number in range(count):
        queue.put(str(number))
    base = results(folder)
    begin, times = multiprocessing.Barrier(WORKERS), multiprocessing.Queue()
    crew = [multiprocessing.Process(target=work, args=(folder, begin, times))
            for _ in range(WORKERS)]  # fmt: skip
    for each in crew:
        each.start()
    found = [times.get() for _ in crew]
    for each in crew:
        each.join()
    assert base.execute("SELECT count(*) FROM results").fetchone() == (count,)
    seconds = max(end for _, _, end in found) - min(first for n, first, _ in found if n)
    print(json.dumps({"tasks": count, "seconds": seconds}))


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
