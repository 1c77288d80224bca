"""`recover`: a database is made again from a backup, the sweep files and the CSVs that are left.

Promises: whatever stood in the database's place is moved aside and named; the CSVs are only
read until the new database is in place, and then mended as after a crash; running it again
after an interruption, or when there is nothing to do, is harmless; a dry run writes nothing.
What is not here: what is adopted (`store/adopting.py`), and how it looks
(`report_recover.py`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlqueue import keys
from sqlqueue.added import Added, summed
from sqlqueue.batches import batches
from sqlqueue.declarations import Declarations, recall_nothing
from sqlqueue.disk import Disk
from sqlqueue.errors import (
    DatabaseError,
    DirectoryError,
    Interrupted,
    ManagerRunning,
    UsageError,
)
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.initialise import (
    read_checked,
    refuse_foreign,
    was_home,
)
from sqlqueue.plan.sweep import load
from sqlqueue.protocol import PhaseCounts, PrepareDirectories, Repair, RepairedReply
from sqlqueue.sweep_files import Text

if TYPE_CHECKING:
    from sqlqueue.store.adopting import Adopted
    from sqlqueue.store.rebuilding import Rebuild

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Of how much, called what: yields `advance`."""


@dataclass
class Recovered:
    """What `recover` found and did, or would do."""

    base: Path | None = None
    base_is_current: bool = False
    queue: str = ""
    queue_from: str = ""
    tasks: int = 0
    results: int = 0
    added: Added = field(default_factory=Added)
    files: int = 0
    rows: int = 0
    adopted: int = 0
    strays: int = 0
    due: int = 0
    troubles: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    taken_in: int = 0
    replaced: bool = False

    def note(self, found: Adopted) -> None:
        """What came of reading the CSVs."""
        self.files, self.rows, self.strays = found.files, found.rows, found.strays
        self.adopted, self.troubles = found.results, found.troubles


@dataclass(frozen=True)
class Wish:
    """What a person asked for."""

    files: Sequence[Path]
    backup: Path | None = None
    dry_run: bool = False


def recover(home: Home, wish: Wish, progress: Progress, disk: Disk | None = None) -> Recovered:
    """Makes the database again; or says, for a dry run, what would come of it."""
    disk = disk or Disk()
    if not was_home(home):
        refuse_foreign(home)
    texts = read_checked(wish.files, home) if wish.files else []
    try:
        if wish.dry_run:
            return _look(home, wish, texts, progress, disk)
        return _recover(home, wish, texts, progress, disk)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again to finish it") from None


def _look(home: Home, wish: Wish, texts: list[Text], progress: Progress, disk: Disk) -> Recovered:
    """In a folder for the time being."""
    if home.manager() is not None:
        raise ManagerRunning(f"{home.path}: a manager runs on this queue; stop it first")
    plan = Plan.of(home, wish, texts)
    with tempfile.TemporaryDirectory(prefix="sqlqueue-") as folder:
        found, _ = _build(home, Path(folder) / "queue.db", plan, progress, disk)
    return found


def _recover(
    home: Home, wish: Wish, texts: list[Text], progress: Progress, disk: Disk
) -> Recovered:
    from sqlqueue.store import backup, rebuilding

    queue, _ = Plan.of(home, wish, texts).queue_id()
    home.create(disk, queue)
    keys.create(home, disk)
    with HomeLock(home, "sqlqueue recover") as lock:
        moved = rebuilding.standing(home, disk)
        plan, part = Plan.of(home, wish, texts), rebuilding.part_of(home)
        with backup.removed(part, disk):
            found, changed = _build(home, part, plan, progress, disk)
            found.moved = moved
            if changed or not plan.base_is_current:
                found.moved += rebuilding.put_in_place(home, disk)
                found.replaced = True
        _settle(home, lock, found, disk)
    return found


def _settle(home: Home, lock: HomeLock, found: Recovered, disk: Disk) -> None:
    """The new database is opened as after a crash: CSVs are mended, rows delivered."""
    from sqlqueue.manager.local import opened

    with opened(home, lock, disk) as local:
        if found.added.directories:
            local.request(PrepareDirectories(output_dirs=found.added.directories))
        reply = local.request(Repair())
        found.actions = reply.actions if isinstance(reply, RepairedReply) else []
        found.taken_in = local.take_in()
        found.set_aside = local.set_aside()


# --- what to begin with ---------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The base to begin with, if there is one, and the sweep files."""

    home: Home
    base: Path | None
    base_is_current: bool
    texts: list[Text]
    folders: list[str]

    @classmethod
    def of(cls, home: Home, wish: Wish, texts: list[Text]) -> Plan:
        """Raises `UsageError` when there is nothing to begin with."""
        base, current = _base(home, wish.backup)
        if base is None and not texts:
            raise UsageError(
                f"{home.database}: {'cannot be used' if home.database.exists() else 'missing'}; "
                "name the sweep files, or a backup with --backup"
            )
        folders = load(texts, Declarations(home.root, recall_nothing)).output_dirs()
        return cls(home, base, current, texts, folders)

    def queue_id(self) -> tuple[str | None, str]:
        """The queue's id, and where it stands; None when it stands nowhere any more."""
        known = self._known_id()
        marked = _markers(self.home, self.folders)
        if known is None and len(set(marked.values())) > 1:
            raise DirectoryError(
                "\n".join(f"{folder}: belongs to queue {who}" for folder, who in marked.items())
            )
        if known is None:
            return next(iter(marked.values()), None), "the directories"
        return known

    def _known_id(self) -> tuple[str, str] | None:
        from sqlqueue.store import condition

        stored = condition.queue_id(self.base) if self.base is not None else None
        if not self.home.exists():
            return None if stored is None else (stored, str(self.base))
        own = self.home.queue_id()
        if stored not in (None, own, self.home.former_id()):
            raise DatabaseError(
                f"{self.base}: is of queue {stored}, while {self.home.identity_file} says {own}; "
                "name a backup of this queue, or another home with --home"
            )
        return own, self.home.identity_file.name


def _base(home: Home, chosen: Path | None) -> tuple[Path | None, bool]:
    """The backup that was named; else the database that is there, if it can be used."""
    from sqlqueue.store import condition

    if chosen is not None:
        condition.check_file(chosen, surely=True)
        return chosen, False
    if not home.database.exists() and home.recovered.exists():
        return home.recovered, True
    try:
        size = condition.check(home, surely=True)
    except condition.OutOfReach:
        raise
    except DatabaseError:
        return None, False
    return (home.database, True) if size else (None, False)


def _markers(home: Home, folders: Sequence[str]) -> dict[str, str]:
    """Which queue each directory says that it belongs to."""
    from sqlqueue.store.directories import marker_of

    found = {each: marker_of(home.root / each) for each in folders}
    return {each: queue for each, queue in found.items() if queue is not None}


# --- building ---------------------------------------------------------------------------


def _build(
    home: Home, path: Path, plan: Plan, progress: Progress, disk: Disk
) -> tuple[Recovered, bool]:
    """The database under that name; what is in it, and whether it differs from its base."""
    from sqlqueue.store import rebuilding

    found = Recovered(plan.base, plan.base_is_current)
    queue, found.queue_from = plan.queue_id()
    with rebuilding.building(home, path, plan.base, disk, time.time(), _silent) as rebuild:
        if queue is not None:
            found.queue = queue
            rebuild.know_queue(queue)
        rebuild.add_directories(plan.folders, queue)
        if plan.texts:
            found.added = _added(home, rebuild, plan.texts, progress)
        with progress(rebuild.csv_bytes() >> 10, "Reading CSVs, KiB") as advance:
            found.note(rebuild.adopt(_in_kibibytes(advance)))
        found.due = rebuild.due()
        found.tasks, found.results = rebuild.counts()
    return found, rebuild.changed


def _in_kibibytes(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Told bytes, tells whole KiB and keeps the rest."""
    rest = 0

    def more(size: int) -> None:
        nonlocal rest
        whole, rest = divmod(rest + size, 1024)
        advance(whole)

    return more


def _silent(_done: int, _total: int) -> None:
    """A copy within one disk takes no time worth showing."""


def _added(home: Home, rebuild: Rebuild, texts: list[Text], progress: Progress) -> Added:
    declarations = Declarations(home.root, rebuild.recall)
    sweep = load(texts, declarations)
    added = Added(notes=declarations.notes, directories=sweep.output_dirs())
    with progress(sweep.count, "Adding cells") as advance:
        for message in batches(sweep.tasks(), declarations.memories, alone=True):
            for phase, counts in rebuild.add(message).items():
                before = added.phases.get(phase, PhaseCounts())
                added.phases[phase] = summed(before, counts)
            advance(len(message.tasks))
    return added
