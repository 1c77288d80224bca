"""A real disk whose calls fail (EIO, EDQUOT), under a real manager and worker.

The disk is `forgetful.py`'s: a sync that failed has forgotten what it was to make durable, and
the next one says that all is well.  That of a directory, or the home's: there the database too,
with a log and with a rollback journal.  Whoever believed the next sync loses an acked row when
the power goes: `campaign/test_power_cuts.py`.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from disk_site import Site, site, works
from forgetful import Disk, forgetful_disk

__all__ = ["site"]

Fault = tuple[str, str, int]

DIRECTORY: dict[str, list[Fault]] = {
    "a write": [("write", "*", errno.EIO)],
    "a quota": [(call, "*", errno.EDQUOT) for call in ("write", "create")],
    "a sync": [("fsync", "*", errno.EIO)],
    "an open": [("open", "*", errno.EIO)],
    "a write, and what is read": [(call, "*", errno.EIO) for call in ("write", "read")],
    "everything": [("*", "*", errno.EIO)],
}
HOME: dict[str, list[Fault]] = {
    "a sync": [("fsync", "queue.db*", errno.EIO)],
    "a write": [("write", "queue.db*", errno.EIO)],
    "a quota": [("write", "queue.db*", errno.EDQUOT)],
    "a read": [("read", "queue.db*", errno.EIO), ("write", "queue.db*", errno.EIO)],
    "everything": [("*", "*", errno.EIO)],
}


def mounted(site: Site, place: Path, *, local: bool) -> Disk:
    return site.disks.enter_context(forgetful_disk(place, local=local))


def ails(site: Site, disk: Disk, faults: list[Fault], *, well: bool) -> None:
    """The pattern; and the disk did fail."""

    def broken() -> None:
        for each in faults:
            disk.fail(*each)

    def cured() -> None:
        met = disk.heal()
        assert met, site.said

    works(site, broken, cured, well=well, unknown=not well)


def test_an_output_directory_whose_syncs_fail(site: Site) -> None:
    disk = mounted(site, site.root / "ill", local=True)
    site.begin()
    ails(site, disk, DIRECTORY["a sync"], well=True)


@pytest.mark.crash
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("fault", DIRECTORY)
def test_an_output_directory(site: Site, fault: str, rows: bool) -> None:
    """`rows`: whether there is a CSV already; the first row needs a new file."""
    disk = mounted(site, site.root / "ill", local=True)
    site.begin(rows)
    ails(site, disk, DIRECTORY[fault], well=True)


@pytest.mark.crash
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("fault", HOME)
def test_a_home(site: Site, fault: str, local: bool) -> None:
    disk = mounted(site, site.home, local=local)
    site.begin()
    ails(site, disk, HOME[fault], well=False)
    met = "manager.lock" if fault == "everything" else "database"  # the first that is looked at
    assert met in site.said
