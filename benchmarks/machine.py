"""Which machine and which versions: without them a figure says nothing.

What is not here: anything that names the machine's owner or its folders.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib import metadata
from pathlib import Path

import psutil

from sqlqueue.filesystems import filesystem

PACKAGES = ("sqlqueue", "sqlalchemy", "msgspec", "uvloop", "pandas")


def processor() -> str:
    """What the kernel calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [each.partition(":")[2].strip() for each in lines if each.startswith("model name")]
    return names[0] if names else platform.machine()


def described(folder: Path) -> list[str]:
    """One line each, for a page."""
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{each} {_version(each)}" for each in PACKAGES)
    return [
        f"{processor()}, {os.cpu_count()} logical cores, {memory:.0f} GiB of memory",
        f"{platform.system()} {platform.release()}, {filesystem(folder)} on a disk of this machine",
        f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {versions}",
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
