"""Which peers there are, what they are durable against, and how each is run.

What is said of durability was read in the installed packages and seen with
`strace -f -e trace=fsync,fdatasync` while they ran.  A peer's program takes a folder and a number
of tasks; it queues them, has them run and their results stored, and prints
`{"tasks": 1000, "seconds": 1.5}`: from the first run to the last, queueing and starting apart.
What is not here: the programs themselves.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[2] / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
MISSING = ENVIRONMENT / "missing"
SITE_PACKAGES = "lib/python*/site-packages"
LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Peer:
    """`package`: in `requirements.txt`; `tasks`: so many make a round of about a second or two."""

    name: str
    package: str
    title: str
    short: str
    program: str
    tasks: int
    loses: str
    durable: str
    options: tuple[str, ...] = ()


PEERS = (
    Peer(
        "huey",
        "huey",
        "huey (SQLite), 2 worker processes",
        "huey",
        "huey_peer.py",
        2_000,
        "tasks that were taken and have no result yet",
        "sets WAL and leaves `synchronous` at SQLite's FULL: a sync when a task is taken, another "
        "when its result is stored. A task is deleted when it is taken, so one that was running "
        "is not run again.",
    ),
    Peer(
        "huey_no_sync",
        "huey",
        "huey (SQLite, `fsync=False`), 2 worker processes",
        "huey, fsync=False",
        "huey_peer.py",
        4_000,
        "whatever the kernel had not written, or the database",
        "its own option, `synchronous = OFF`: no sync while it works.",
        ("--no-sync",),
    ),
    Peer(
        "litequeue",
        "litequeue",
        "litequeue, full sync, 2 processes",
        "litequeue, full sync",
        "litequeue_peer.py",
        1_000,
        "nothing; what ran stays locked",
        "sets WAL and `synchronous = NORMAL`, which loses the last commits; made FULL here. It "
        "keeps no results: they go into a SQLite file beside it, so that a task takes three "
        "syncs. What was running stays locked until somebody frees it by hand.",
    ),
    Peer(
        "optuna",
        "optuna",
        "Optuna (SQLite), 2 processes",
        "Optuna (SQLite)",
        "optuna_peer.py",
        60,
        "nothing; what ran stays RUNNING",
        "sets nothing: a rollback journal with `synchronous = FULL`, and about fifteen syncs for a "
        "trial. Trials are made as they are run.",
    ),
    Peer(
        "hyperqueue",
        "hyperqueue",
        "HyperQueue, 2 cores",
        "HyperQueue",
        "hyperqueue_peer.py",
        1_000,
        "all: which tasks there were, and which are done",
        "the cluster of its Python package has no journal and syncs nothing (the `hq` program, "
        "which that package does not bring, can keep one, and says that a crash may lose its last "
        "seconds). A task is a process, its result a file.",
    ),
)
BY_NAME = {each.name: each for each in PEERS}


def installed() -> list[Peer]:
    """Those that can be measured here; none where their environment was not made."""
    gone = missing()
    return [each for each in PEERS if PYTHON.exists() and each not in gone]


def missing() -> dict[Peer, str]:
    """Those that could not be installed, and why, as the last line that pip said."""
    found: dict[Peer, str] = {}
    for each in PEERS:
        if (MISSING / each.package).exists():
            found[each] = (MISSING / each.package).read_text().strip().splitlines()[-1]
    return found


def versions() -> list[str]:
    """Name and version of each package that is there, as `huey 3.5.4`."""
    wanted = {each.package for each in PEERS}
    there = metadata.distributions(path=[str(each) for each in ENVIRONMENT.glob(SITE_PACKAGES)])
    return sorted(f"{each.name} {each.version}" for each in there if each.name in wanted)


def run(peer: Peer, folder: Path) -> float:
    """Tasks per second, in a folder of its own below `folder`."""
    program = Path(__file__).with_name(peer.program)
    with tempfile.TemporaryDirectory(prefix="sqlqueue-bench-", dir=folder) as own:
        done = subprocess.run(
            [str(PYTHON), str(program), own, str(peer.tasks), *peer.options], cwd=own,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=LIMIT_SECONDS,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{peer.title} failed:\n{done.stderr}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return float(figures["tasks"] / figures["seconds"])
