"""Fixtures that all tests share.  Each that makes a queue audits it when it leaves.

`home` is an empty created home, `cli` runs commands in the folder that holds it, `manager`
is a running one, `manager_process` one that the test starts itself, `small_queue` a `cli`
whose queue has two tasks, `study` a folder to write sweep files in and to work on.  The
folder is always `tmp_path`, and the home `tmp_path/.sqlqueue`, so they fit together.
What is not here: helpers (`support.py`), and anything that stands in for a real part.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
from acceptance import Study
from thinned import thin
from worker_queue import Queue

from sqlqueue.home import NAME, Home
from support import Cli, ManagerProcess, environment, texts

pytest_plugins = ["tally"]

# A shell that starts something in the background has it ignore these; commands leave an ignored
# signal ignored, and tests send them.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )


# Hundreds of processes start: none is to compile the product anew, whatever is set outside.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test judges how quick this machine is just now, and so does no example of one.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@dataclass
class Audits:
    """The homes to be audited when the test ends."""

    homes: list[Home] = field(default_factory=list)

    def __call__(self, home: Home) -> Home:
        """Has the home audited; returns it."""
        if home not in self.homes:
            self.homes.append(home)
        return home

    def forget(self, home: Home) -> None:
        """For the test that leaves a queue broken on purpose, and says why."""
        self.homes.remove(home)

    def run(self) -> None:
        """Fails with every finding in a home that has a database."""
        for home in self.homes:
            findings = audit(home)
            assert not findings, f"the audit of {home.path} found\n{texts(findings)}"


def audit(home: Home) -> list[object]:
    """What is wrong with a queue; a home without a database has none yet."""
    if not home.database.exists():
        return []
    from sqlqueue.store.audit import verify

    return list(verify(home))


@pytest.fixture
def audit_on_exit() -> Iterator[Audits]:
    """Call it with a home: the queue's invariants are checked when the test leaves."""
    audits = Audits()
    yield audits
    audits.run()


@pytest.fixture
def home(tmp_path: Path, audit_on_exit: Audits) -> Home:
    """A created home, still without a database."""
    made = audit_on_exit(Home(tmp_path / NAME))
    made.create()
    return made


@pytest.fixture
def cli(tmp_path: Path, audit_on_exit: Audits) -> Cli:
    """Runs `sqlqueue ...` in `tmp_path`; there need not be a home yet."""
    audit_on_exit(Home(tmp_path / NAME))
    return Cli(tmp_path, environment(tmp_path / "state"), forks=True)


@pytest.fixture
def manager_process(home: Home, cli: Cli, tmp_path: Path) -> Iterator[ManagerProcess]:
    """A manager that the test starts, stops and kills itself; ended when the test leaves."""
    manager = ManagerProcess(home, cli, tmp_path / "manager.output")
    yield manager
    if manager.process is not None:
        manager.stop()


@pytest.fixture
def queue(home: Home, cli: Cli, manager_process: ManagerProcess) -> Iterator[Queue]:
    """Whose workers end with the test."""
    made = Queue(home, cli, manager_process)
    yield made
    made.end()


@pytest.fixture
def manager(manager_process: ManagerProcess) -> ManagerProcess:
    """A running manager of `home`."""
    return manager_process.start()


SMALL_SWEEP = """\
defaults: {output_dir: results, experiment: "small:measure"}
small: {combinations: [{seed: [1, 2]}]}
"""
SMALL_EXPERIMENT = "def measure(seed: int) -> dict:\n    return {'value': seed}\n"


@pytest.fixture
def small_queue(cli: Cli, tmp_path: Path) -> Cli:
    """A queue with two tasks, `small_0_1` and `small_1_2`, for `results/`; nothing has run."""
    (tmp_path / "small.yaml").write_text(SMALL_SWEEP)
    (tmp_path / "small.py").write_text(SMALL_EXPERIMENT)
    cli.set_up("init", "small.yaml")
    return cli


@pytest.fixture
def study(home: Home, cli: Cli, manager_process: ManagerProcess) -> Iterator[Study]:
    """A folder with experiments to write sweep files for; no manager runs yet."""
    assert home.root == cli.root
    made = Study(cli, manager_process)
    yield made
    made.end()


@pytest.hookimpl(tryfirst=True)  # before what is marked is chosen from
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    thin(items)
