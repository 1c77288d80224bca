"""huey with its SQLite storage: a consumer with two worker processes, results kept.

    .venv-peers/bin/python huey_peer.py FOLDER TASKS [--no-sync]

Without `--no-sync` huey's default holds, which leaves SQLite to its own: WAL, `synchronous = FULL`.
"""

import json
import logging
import sys
import time
from pathlib import Path

from huey import SqliteHuey

folder, count = Path(sys.argv[1]), int(sys.argv[2])
logging.disable(logging.INFO)
options = {"fsync": False} if "--no-sync" in sys.argv else {}
queue = SqliteHuey(filename=str(folder / "huey.db"), **options)


@queue.task()
def nothing(_):
    return time.monotonic()


given = [nothing(number) for number in range(count)]
consumer = queue.create_consumer(workers=2, worker_type="process", periodic=False)
consumer.start()
while queue.storage.result_store_size() < count:
    time.sleep(0.02)
times = [each.get() for each in given]
consumer.stop()
assert len(times) == count and all(times)
print(json.dumps({"tasks": count, "seconds": max(times) - min(times)}), flush=True)
