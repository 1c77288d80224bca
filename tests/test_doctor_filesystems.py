"""`doctor` on real filesystems that are full, read-only, in memory, over FUSE, slow or hanging.

Mounts need root; a sync that fails or is slow is made so at the seam, or by strace.
What is not here: what is wrong with the queue itself (`test_doctor.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from needs import need
from test_doctor import Illness, is_found_and_cured
from ward import Ward, fill, run, ward

from sqlqueue.disk import Disk
from sqlqueue.doctor import filesystem
from sqlqueue.doctor.probe import Probe


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    with ward(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def theatre(patient: Ward) -> Ward:
    need(os.geteuid() == 0, "root, to mount filesystems")
    return patient


def bound_read_only(path: Path, ward: Ward) -> None:
    ward.mount("--bind", str(path), on=path)
    run("mount", "-o", "remount,bind,ro", str(path))


def home_read_only(ward: Ward) -> None:
    bound_read_only(ward.home.path, ward)


def results_read_only(ward: Ward) -> None:
    bound_read_only(ward.csv.parent, ward)


def results_on(*options: str) -> Callable[[Ward], Path]:
    """The output directory on a filesystem in memory."""

    def make(ward: Ward) -> Path:
        kept = ward.root / "kept"
        shutil.copytree(ward.csv.parent, kept)
        ward.mount("-t", "tmpfs", "-o", ",".join(options), "none", on=ward.csv.parent)
        shutil.copytree(kept, ward.csv.parent, dirs_exist_ok=True)
        return ward.csv.parent

    return make


def results_full(ward: Ward) -> None:
    folder = results_on("size=1m")(ward)
    with pytest.raises(OSError), (folder / "large").open("wb") as file:
        file.write(b"x" * (1 << 21))


def home_in_a_layer(ward: Ward) -> None:
    """As in a container; its upper layer cannot lie on another such layer."""
    layers = ward.mount("-t", "tmpfs", "none", on=ward.root / "layers")
    for name in ("upper", "work", "lower"):
        (layers / name).mkdir()
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    shutil.rmtree(ward.home.path)
    shutil.rmtree(ward.csv.parent)
    ward.mount("-t", "overlay", "-o", options, "none", on=ward.home.path)
    ward.home.path.chmod(0o700)
    fill(ward.home)


MOUNTS = [
    Illness("fs-read-only", home_read_only),
    Illness("fs-read-only", results_read_only),
    Illness("fs-memory", results_on("size=2g"), "warning"),
    Illness("fs-little-room", results_on("size=16m"), "warning"),
    Illness("fs-few-inodes", results_on("size=2g", "nr_inodes=500"), "warning"),
    Illness("fs-full", results_full),
    Illness("fs-overlay", home_in_a_layer, "warning"),
]


@pytest.mark.parametrize("ill", MOUNTS, ids=str)
def test_a_filesystem_that_is_unsafe(theatre: Ward, ill: Illness) -> None:
    ill.make(theatre)
    is_found_and_cured(theatre, ill)


def test_no_permission_is_asked_for_on_a_read_only_mount(theatre: Ward) -> None:
    results_read_only(theatre)
    assert theatre.visit() == 1
    assert [each["kind"] for each in theatre.told] == ["fs-read-only"]
    run("mount", "-o", "remount,bind,rw", str(theatre.csv.parent))
    theatre.csv.parent.chmod(0o555)
    run("mount", "-o", "remount,bind,ro", str(theatre.csv.parent))
    theatre.visit()
    assert {each["kind"] for each in theatre.told} == {"fs-read-only", "dir-not-writable"}


def test_fuse_is_told_and_is_no_fault(theatre: Ward) -> None:
    need(shutil.which("bindfs") is not None, "bindfs, for a FUSE filesystem")
    theatre.bindfs(theatre.home.path)
    is_found_and_cured(theatre, Illness("fs-network", theatre.bindfs, "note"))
    assert [each["kind"] for each in theatre.told] == ["fs-network"]


@pytest.mark.parametrize("what", ["home", "results"])
def test_what_hangs_is_told_and_holds_up_nothing(theatre: Ward, what: str) -> None:
    """A FUSE filesystem whose server is stopped answers nobody."""
    need(shutil.which("bindfs") is not None, "bindfs, for a FUSE filesystem")
    folder = theatre.home.path if what == "home" else theatre.csv.parent
    server = theatre.bindfs(folder)
    theatre.limit_seconds = 0.5
    os.umask(0)
    began = time.monotonic()
    server.send_signal(signal.SIGSTOP)
    try:
        assert theatre.visit() == 1
    finally:
        os.umask(0o022)
        server.send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 20
    hanging = theatre.finding("no-answer")
    assert hanging and str(folder) in hanging["about"]
    assert theatre.finding("umask"), "what does not hang is looked at"


@pytest.mark.slow
def test_the_command_itself_ends_while_a_filesystem_hangs(theatre: Ward) -> None:
    need(shutil.which("bindfs") is not None, "bindfs, for a FUSE filesystem")
    server = theatre.bindfs(theatre.csv.parent)
    server.send_signal(signal.SIGSTOP)
    try:
        done = theatre.cli("doctor", seconds=50)
    finally:
        server.send_signal(signal.SIGCONT)
    assert done.returncode == 1
    assert "did not answer in 5 s" in done.stdout


# --- disks that fail ------------------------------------------------------------------


class Slow(Disk):
    def fsync(self, fd: int) -> None:
        Event().wait(0.06)
        super().fsync(fd)


def test_a_slow_sync_is_a_note(patient: Ward) -> None:
    patient.disk = Slow()
    assert patient.visit() == 0
    found = patient.finding("fs-sync-slow")
    assert found and found["severity"] == "note"


STRACED = [("fsync:error=EIO", "fs-sync-fails"), ("flock:error=ENOLCK", "fs-no-locks")]


@pytest.mark.parametrize(("fault", "kind"), STRACED)
def test_a_disk_that_fails(patient: Ward, fault: str, kind: str) -> None:
    need(shutil.which("strace") is not None, "strace, to make system calls fail")
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={fault}"]
    done = wrapped(patient, command)
    assert done.returncode == 1, done.stderr
    assert f'"{kind}"' in done.stdout


def wrapped(patient: Ward, command: list[str], **variables: str) -> Any:
    """The command line below another program."""
    import subprocess

    from support import sqlqueue_command

    return subprocess.run(
        [*command, *sqlqueue_command("doctor", "--json")],
        cwd=patient.root, env=patient.cli.environment | variables, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


ODD = [
    ("lock", "another process", "fs-no-locks"),
    ("lock", "another descriptor", "fs-no-locks"),
    ("replace", False, "fs-no-replace"),
    ("link", False, "fs-no-links"),
    ("case", True, "fs-no-case"),
    ("name", 140, "fs-short-names"),
    ("ticks", False, "fs-coarse-times"),
    ("clock", -7.0, "fs-clock"),
]


@pytest.mark.parametrize(("step", "saw", "kind"), ODD)
def test_what_filesystems_that_cannot_be_mounted_here_do(
    tmp_path: Path, step: str, saw: Any, kind: str
) -> None:
    found = list(filesystem._odd(tmp_path, Probe(saw={step: saw})))
    assert [each.kind.name for each in found] == [kind]
