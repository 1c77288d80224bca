"""HyperQueue through its Python package: a server and a worker of two cores, each task a program.

    .venv-peers/bin/python hyperqueue_peer.py FOLDER TASKS

A task is one process, as is usual there, and its result what it prints, kept in a file of its own;
the times of those files tell when tasks ran.
"""

import json
import os
import sys
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

CORES = 2


def main():
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    os.chdir(folder)
    with LocalCluster(str(folder / "server")) as cluster:
        client = cluster.client()
        job = Job(folder)
        for number in range(count):
            job.program(["/bin/echo", str(number)], stdout=folder / f"{number}.out", stderr=None)
        given = client.submit(job)
        cluster.start_worker(WorkerConfig(cores=CORES))
        assert client.wait_for_jobs([given])
    outputs = [folder / f"{number}.out" for number in range(count)]
    assert [each.read_text().strip() for each in outputs] == [str(n) for n in range(count)]
    times = [each.stat().st_mtime_ns for each in outputs]
    print(json.dumps({"tasks": count, "seconds": (max(times) - min(times)) / 1e9}))


if __name__ == "__main__":
    main()
