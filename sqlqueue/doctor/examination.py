"""The whole examination: every check, each with a time limit, none able to spoil another.

A check runs in a lane (a thread); one that does not answer is a finding of its own, and what
depends on it is left out.  What is not here: what is checked, how it is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlqueue.disk import Disk
from sqlqueue.doctor import (
    at_home,
    certificate,
    database,
    directories,
    filesystem,
    machine,
    managing,
    packages,
    salvaged,
)
from sqlqueue.doctor.finding import PROBLEM, WARNING, Finding, Severity, kind
from sqlqueue.errors import HomeError
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.store.lanes import Hung, Lanes

if TYPE_CHECKING:
    from sqlqueue.store.health import Health

T = TypeVar("T")
Check = Callable[[], Iterator[Finding]]

LIMIT_SECONDS: Final = 5.0
CHECKED_BYTES_A_SECOND: Final = 50_000_000
"""How fast a database may be expected to be read on a slow disk."""
MOST_LANES: Final = 32

HANGS = kind(
    "no-answer", PROBLEM, "something does not answer",
    "a filesystem or a server hangs; whatever touches it hangs too",
    cure="find out what hangs: `mount` names the server of a network filesystem, `dmesg` complains "
    "of a disk; suspended directories are tried again by themselves",
)  # fmt: skip
FAILED = kind(
    "check-failed", WARNING, "something could not be looked at",
    "what is wrong with it stays unknown",
    cure="mend what the error names, then run `sqlqueue doctor` again",
)  # fmt: skip


@dataclass
class Examination:
    """One visit.  `named`: the home was given with --home."""

    home: Home
    named: bool = True
    limit_seconds: float = LIMIT_SECONDS
    disk: Disk | None = None
    findings: list[Finding] = field(default_factory=list)
    directories: int = 0

    def run(self) -> list[Finding]:
        """Every finding, the worst first.  Raises `HomeError` for what never was a home."""
        began = time.monotonic(), time.time()
        self._lanes = Lanes(self.limit_seconds, MOST_LANES)
        loading = _Loading()
        self._this_machine()
        if self._answers():
            self._queue()
        loading.join(self.findings)
        self.findings += machine.clock(*began)
        self._lanes.close()
        order = list(Severity)
        self.findings.sort(key=lambda each: order.index(each.kind.severity))
        return self.findings

    def _this_machine(self) -> None:
        self._all(
            {
                "this machine": machine.check,
                "the state folder": machine.state_folder,
                "Python and its packages": packages.check,
            }
        )

    def _answers(self) -> bool:
        """Whether the home's filesystem answers at all."""
        found = self._lanes.run({"home": partial(at_home.refuse, self.home)})["home"]
        if isinstance(found, HomeError):
            raise found
        return not isinstance(found, BaseException) or not self._trouble(self.home.path, found)

    def _queue(self) -> None:
        home = self.home
        self._all(
            {
                str(home.path): partial(at_home.check, home),
                f"the filesystem of {home.path}": self._own_filesystem,
                f"the certificate of {home.path}": partial(certificate.check, home),
                "the environment": partial(machine.variables, home, self.named),
            }
        )
        figures = self._manager()
        health = self._database()
        salvage = partial(salvaged.check, home, readable=health is not None)
        self._all({str(home.salvage): salvage})
        self._directories(health, figures)

    def _own_filesystem(self) -> Iterator[Finding]:
        folder = self.home.path if self.home.path.is_dir() else self.home.root
        if folder.is_dir():
            yield from filesystem.read_only(folder)
            yield from filesystem.room(folder)
            yield from filesystem.check(folder, self.disk, database=True)

    def _manager(self) -> dict[str, Any] | None:
        found = self._one("the manager", lambda: managing.check(self.home))
        self.findings += found[0] if found else []
        return found[1] if found else None

    def _database(self) -> Health | None:
        """Left alone where its owner has it to itself."""
        path = self.home.database
        if self._one(str(path), self._owned_alone):
            return None
        size = self._one(str(path), lambda: path.stat().st_size if path.exists() else 0) or 0
        found = self._one(
            str(path), lambda: database.check(self.home), extra=size / CHECKED_BYTES_A_SECOND
        )
        self.findings += found[0] if found else []
        return found[1] if found else None

    def _owned_alone(self) -> bool:

        gone = {managing.DEAD, managing.OTHER, managing.DAMAGED}
        runs = self.home.manager_file.exists() and not gone & {e.kind for e in self.findings}
        return runs and on_network(self.home.path)

    # --- output directories -------------------------------------------------------------

    def _directories(self, health: Health | None, figures: dict[str, Any] | None) -> None:
        records: dict[str, Any] = dict(health.directories) if health else {}
        asides = health.set_aside if health else []
        for each in figures["directories"] if figures else []:
            records.setdefault(each["output_dir"], None)
            if each["trouble"]:
                folder = self.home.absolute(each["output_dir"])
                self.findings.append(directories.SUSPENDED.at(folder, each["trouble"]))
        self.directories = len(records)
        checks = {
            str(self.home.absolute(path)): partial(self._directory, path, record)
            for path, record in records.items()
        }
        for folder in self._own_folders():
            checks[str(folder)] = partial(directories.waiting, folder)
        for path in asides:
            checks[f"{path} (moved aside)"] = partial(directories.set_aside, self.home, path)
        self._all(checks)
        self._all(self._filesystems([self.home.absolute(path) for path in records]))

    def _own_folders(self) -> list[Path]:
        """Where else results of this queue may wait."""
        from sqlqueue.worker.place import Place

        queue = self._one("queue.json", lambda: directories.queue_of(self.home))
        return Place(self.home, self.home.root, queue).own_folders() if queue else []

    def _directory(self, stored: str, record: Any) -> Iterator[Finding]:
        yield from directories.check(self.home, stored, record)
        folder = self.home.absolute(stored)
        if folder.is_dir():
            yield from filesystem.read_only(folder)

    def _filesystems(self, folders: list[Path]) -> dict[str, Check]:
        """One folder of each filesystem that is not the home's."""
        outcomes = self._lanes.run({each: partial(_device, each) for each in folders})
        home = _device(self.home.path)
        known = {None, home}
        first: dict[str, Check] = {}
        for folder, device in outcomes.items():
            if not isinstance(device, BaseException) and device not in known:
                known.add(device)
                first[f"the filesystem of {folder}"] = partial(self._filesystem, folder)
        return first

    def _filesystem(self, folder: Path) -> Iterator[Finding]:
        yield from filesystem.room(folder)
        yield from filesystem.check(folder, self.disk)

    # --- with a time limit ----------------------------------------------------------------

    def _all(self, checks: Mapping[str, Check]) -> None:
        outcomes = self._lanes.run({name: partial(_listed, each) for name, each in checks.items()})
        for name, outcome in outcomes.items():
            if isinstance(outcome, BaseException):
                self._trouble(name, outcome)
            else:
                self.findings += outcome

    def _one(self, name: str, call: Callable[[], T], extra: float = 0.0) -> T | None:
        outcome = self._lanes.run({name: call}, extra)[name]
        if isinstance(outcome, BaseException):
            self._trouble(name, outcome)
            return None
        return outcome

    def _trouble(self, name: object, error: BaseException) -> bool:
        """Notes why a check came to nothing; whether it hangs."""
        if isinstance(error, Hung):
            seconds = f"{self.limit_seconds:g}"
            self.findings.append(HANGS.at(name, f"did not answer in {seconds} s"))
            return True
        found = f"{getattr(error, 'filename', None) or ''} {_reason(error)}".strip()
        self.findings.append(FAILED.at(name, found))
        return False


class _Loading:
    """torch, loaded meanwhile: it takes longer than everything else."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._load, name="torch", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        self._found += packages.torch()

    def join(self, findings: list[Finding]) -> None:
        self._thread.join(packages.LOAD_SECONDS + LIMIT_SECONDS)
        findings += self._found


def _listed(check: Check) -> list[Finding]:
    return list(check())


def _device(folder: Path) -> int | None:
    return folder.stat().st_dev if folder.is_dir() else None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def wrong(findings: Iterable[Finding]) -> bool:
    """Whether anything is worse than a note."""
    return any(each.kind.severity in (PROBLEM, WARNING) for each in findings)
