"""The worker's parts that need no child: devices, names, sources, deaths, delivery."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from serving import SECONDS, Running

from sqlqueue import unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.errors import (
    DirectoryUnavailable,
    ManagerUnreachable,
    ProtocolError,
    StorageFailure,
    UnknownTask,
    UsageError,
)
from sqlqueue.home import OUTPUT_MARKER, Home
from sqlqueue.protocol import (
    Ack,
    NoTask,
    Release,
    Reply,
    Request,
    RequestTask,
    SubmitResult,
    TaskFailed,
    TaskReply,
    error_reply,
)
from sqlqueue.worker import (
    asking,
    code,
    deaths,
    devices,
    machine,
    names,
    outcome,
    sources,
    versions,
)
from sqlqueue.worker import delivery as delivering
from sqlqueue.worker import place as places
from sqlqueue.worker.asking import Asker
from sqlqueue.worker.client import Client
from sqlqueue.worker.delivery import Delivery, within
from sqlqueue.worker.outcome import Ending, Order
from sqlqueue.worker.place import Place
from sqlqueue.worker.runner import Runner
from sqlqueue.worker.supervisor import WorkOptions, work
from support import wait_until

SIGNATURE = "0123456789abcdef0123456789abcdef"


def task(**changes: Any) -> TaskReply:
    fields: dict[str, Any] = {
        "task_id": "exp_0_42", "attempt": 1, "phase": "exp", "experiment": "m:f", "config": {},
        "seed": 42, "output_dir": "out", "output_dirs": ["out"], "lease_seconds": 60.0,
        "signature": SIGNATURE, "timeout_seconds": None,
    }  # fmt: skip
    return TaskReply(**{**fields, **changes})


# --- devices --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "cpu", "available", "expected"),
    [
        ((), False, 0, ["cpu"]),
        ((), False, 2, ["gpu0", "gpu1"]),
        ((), True, 2, ["cpu"]),
        ("all", False, 2, ["gpu0", "gpu1"]),
        ("all", True, 1, ["gpu0", "cpu"]),
        ("all", False, 0, ["cpu"]),
        ([1], False, 2, ["gpu1"]),
        ([1, 1], False, 2, ["gpu1"]),
        ([0, 5], False, 1, ["gpu0", "cpu"]),
        ([0, 1], False, 0, ["cpu"]),
        ([-1], False, 2, ["cpu"]),
    ],
)
def test_devices_chosen(gpus: Any, cpu: bool, available: int, expected: list[str]) -> None:
    assert [each.label for each in devices.choose(gpus, cpu, False, available)] == expected


@pytest.mark.parametrize(
    ("gpus", "available", "said"),
    [
        ([3], 2, "--gpu 3 was asked for, but this machine shows 2 GPUs, numbers 0 to 1"),
        ([1], 1, "one GPU, number 0"),
        ("all", 0, "a GPU was asked for, but this machine shows no GPU"),
    ],
)
def test_a_missing_gpu_is_a_warning_or_an_error(
    gpus: Any, available: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        devices.choose(gpus, False, False, available)
    assert said in caplog.text
    assert "USING THE CPU INSTEAD" in caplog.text
    with pytest.raises(UsageError, match="--require-gpu") as caught:
        devices.choose(gpus, False, True, available)
    assert said in caught.value.message


def test_without_a_wish_the_cpu_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    devices.choose((), False, False, 0)
    assert caplog.text == ""


def test_what_a_child_sees_of_its_device() -> None:
    seen = devices.child_environment(devices.gpu_device(1), 1, {"CUDA_VISIBLE_DEVICES": "4, 7"})
    assert seen["CUDA_VISIBLE_DEVICES"] == "7"
    assert devices.child_environment(devices.gpu_device(1), 1, {})["CUDA_VISIBLE_DEVICES"] == "1"
    assert devices.child_environment(devices.CPU, 1, {})["CUDA_VISIBLE_DEVICES"] == ""
    assert devices.gpu_device(1).run_device == "cuda:0"


def test_the_share_of_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    for runners, expected in ((1, cores), (cores, 1), (4 * cores, 1)):
        seen = devices.child_environment(devices.CPU, runners, {})
        assert seen["OMP_NUM_THREADS"] == str(expected)
    own = devices.child_environment(devices.CPU, 1, {"OMP_NUM_THREADS": "7"})
    assert own["OMP_NUM_THREADS"] == "7"


def test_counting_gpus_loads_no_driver_here() -> None:
    """In a fresh process: another test may have loaded torch, and what it links, into this one."""
    code = (
        "from pathlib import Path; from sqlqueue.worker import devices; "
        "assert devices.count_gpus() >= 0; "
        "assert 'libcuda' not in Path('/proc/self/maps').read_text()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_slots_and_where_to_work_are_checked(home: Home) -> None:
    with pytest.raises(UsageError, match="--slots 0"):
        work(WorkOptions(home=home, slots=0))
    with pytest.raises(UsageError, match="--manager"):
        work(WorkOptions())


# --- names ----------------------------------------------------------------------------


def test_names_are_held_until_released(tmp_path: Path) -> None:
    first = names.take(tmp_path, "cpu")
    second = names.take(tmp_path, "cpu")
    assert first.text.endswith("-cpu")
    assert (second.text, second.label) == (f"{first.text}-2", "cpu-2")
    assert not names.is_free(tmp_path, first.text)
    first.release()
    assert names.is_free(tmp_path, first.text)
    assert names.take(tmp_path, "cpu").text == first.text
    assert names.is_free(tmp_path, "nobody-cpu")
    second.release()


def test_a_name_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sqlqueue.worker import names\n"
        f"name = names.take(Path({str(tmp_path)!r}), 'cpu'); print(name.text, flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().strip()
        assert not names.is_free(tmp_path, name)
        assert not names.is_left(tmp_path, name)
        holder.kill()
    assert names.is_free(tmp_path, name)
    assert names.is_left(tmp_path, name)


def test_a_name_that_was_never_taken_was_not_left(tmp_path: Path) -> None:
    (tmp_path / "secret.lock").touch()
    for name in ("nobody-cpu", "../secret", "a\0b", "x" * 300, ""):
        assert not names.is_left(tmp_path / "workers", name)
        assert not names.is_left(tmp_path, name)


def test_the_mark_of_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept in the folder; another for another folder, boot or container."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    mark = machine.mark(first)
    assert (len(mark), machine.mark(first)) == (machine.MARK_CHARACTERS, mark)
    shutil.copytree(first, second)
    assert machine.mark(second) == mark
    (first / machine.FILE).write_bytes(b"torn")
    anew = machine.mark(first)
    assert anew not in (mark, hashlib.sha256().hexdigest()[: machine.MARK_CHARACTERS])
    assert machine.mark(first) == anew
    (tmp_path / "boot").write_text("of the clone")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_BOOT", tmp_path / "boot")
        assert machine.mark(second) != mark
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_CONTAINER", tmp_path / "nowhere")
        assert machine.mark(second) != mark
    assert machine.mark(second) == mark


def test_where_no_mark_can_be_kept_it_is_unique(tmp_path: Path) -> None:
    assert machine.mark(tmp_path / "gone") != machine.mark(tmp_path / "gone")


def test_the_mark_stands_before_the_label(tmp_path: Path) -> None:
    name = names.take(tmp_path, "cpu", "7c1e09ab")
    assert name.text.endswith("-7c1e09ab-cpu")
    assert name.label == "cpu"
    name.release()


# --- sources --------------------------------------------------------------------------


def test_changed_removed_and_young_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    known = {str(path): sources.stamp(str(path))}
    assert sources.changed(known) == []
    path.write_text("x = 22\n")
    assert sources.changed(known) == [str(path)]
    path.unlink()
    assert sources.changed(known) == [str(path)]
    assert sources.changed({str(path): sources.UNKNOWN}) == [str(path)]


def test_a_module_in_the_place_of_another_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are as many as before; the last to be imported is another."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    found = []
    seen = sources.Sources(tmp_path)
    for name in ("first", "second"):
        sys.modules.pop("first", None)
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        found.append(set(seen.look()))
    assert found == [{str(tmp_path / "first.py")},
                     {str(tmp_path / f"{name}.py") for name in ("first", "second")}]  # fmt: skip


# --- deaths ---------------------------------------------------------------------------


def test_deaths_are_named(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    told = deaths.describe(-signal.SIGSEGV, log, out_of_memory=True)
    assert told.outcome == "FAILED"
    assert told.error.startswith("the child was killed by SIGSEGV\nlast lines of its log:")
    assert "line 99" in told.error
    assert "line 79" not in told.error
    assert deaths.describe(-signal.SIGKILL, log, out_of_memory=True).outcome == "OOM"
    assert deaths.describe(-signal.SIGKILL, log, out_of_memory=False).outcome == "FAILED"
    assert "exit status 7" in deaths.describe(7, tmp_path / "none", out_of_memory=False).error
    assert "signal 99" in deaths.describe(-99, log, out_of_memory=False).error


def test_the_kernels_counters_can_be_read() -> None:
    assert deaths.oom_kills() >= 0
    assert all(path.is_absolute() for path in deaths._cgroup_files())


# --- code version ---------------------------------------------------------------------


def git(root: Path, *arguments: str) -> str:
    own = ["-c", "user.name=n", "-c", "user.email=e@e", "-C", str(root)]
    done = subprocess.run(["git", *own, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def committed(root: Path) -> str:
    """A repository with a file `a` in it; the commit."""
    git(root, "init")
    (root / "a").write_text("1")
    git(root, "add", "a")
    git(root, "commit", "-m", "one")
    return git(root, "rev-parse", "HEAD")


def test_the_commit_of_the_root_and_whether_the_files_are_as_committed(tmp_path: Path) -> None:
    files = [tmp_path / "a"]
    commit = committed(tmp_path)
    clean = code.version(tmp_path, files)
    assert commit.startswith(clean)
    assert len(clean) == 10
    (tmp_path / "results.csv").touch()
    assert code.version(tmp_path, files) == clean, "what is not its code says nothing of it"
    untracked = tmp_path / "helper"
    untracked.write_text("x")
    assert code.version(tmp_path, [*files, untracked]).startswith(f"{clean}+")
    (tmp_path / ".gitignore").write_text("helper\n")
    assert code.version(tmp_path, [*files, untracked]).startswith(f"{clean}+")
    (tmp_path / "a").write_text("2")
    second = code.version(tmp_path, files)
    assert re.fullmatch(f"{clean}[+][0-9a-f]{{8}}", second)
    (tmp_path / "a").write_text("3")
    third = code.version(tmp_path, files)
    assert third not in (clean, second)
    assert third.startswith(f"{clean}+")
    (tmp_path / "a").write_text("1")
    assert code.version(tmp_path, files) == clean
    assert code.version(tmp_path) == clean
    assert not list((tmp_path / ".git").glob("*.lock"))


def test_without_a_repository_what_stands_in_the_files_decides(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = code.version(tmp_path, [tmp_path / "a"])
    assert re.fullmatch("files-[0-9a-f]{8}", first)
    (tmp_path / "a").write_text("2")
    assert code.version(tmp_path, [tmp_path / "a"]) != first
    (tmp_path / "a").write_text("1")
    assert code.version(tmp_path, [str(tmp_path / "a")]) == first
    assert code.version(tmp_path) == ""
    assert code.version(tmp_path, [Path(code.__file__)]) == "", "what is sqlqueue's own"


@pytest.mark.parametrize("program", ["exit 1", "exec sleep 30", "kill -9 $$"])
def test_a_git_that_fails_or_hangs_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{program}\n")
    (folder / "git").chmod(0o755)
    (tmp_path / "a").write_text("1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(code, "GIT_SECONDS", 0.3)
    assert code.version(tmp_path, [tmp_path / "a"]).startswith("files-")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert code.version(tmp_path, [tmp_path / "a"]).startswith("files-")


def test_git_is_asked_once_for_a_child_and_again_when_a_command_s_files_changed(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_text("1")
    loaded = code.Loaded(tmp_path)
    files = [tmp_path / "a"]
    assert loaded.note("train:main", files, may_change=False)
    first = loaded.version
    (tmp_path / "a").write_text("22")
    assert not loaded.note("train:main", files, may_change=False)
    assert loaded.version == first
    assert loaded.note("a command", files, may_change=True)
    assert loaded.version != first
    assert not loaded.note("a command", files, may_change=True)
    built_in = code.Loaded(tmp_path)
    assert built_in.note("poisoning", [], may_change=False)
    assert built_in.version == code.built_in()


def test_versions_are_of_what_is_loaded() -> None:
    found = versions.loaded()
    assert found["python"] == platform.python_version()
    assert set(found) >= {"python", "sqlqueue"}
    assert ("torch" in found) == hasattr(sys.modules.get("torch"), "__version__")


# --- orders ---------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", ["../x", "a/b", "..", "a\0b", ""])
def test_ids_that_would_leave_the_home_are_refused(home: Home, task_id: str) -> None:
    with pytest.raises(ProtocolError):
        places.shared(home).order(task(task_id=task_id), "w", devices.CPU)
    with pytest.raises(ProtocolError):
        places.shared(home).order(task(signature="../x"), "w", devices.CPU)


def test_an_order_survives_the_pipe(home: Home) -> None:
    config = {"a": float("inf"), "b": [1, {"c": None}], "d": "ü\n"}
    order = places.shared(home).order(task(config=config), "w", devices.CPU)
    assert outcome.read_order(order.line()) == order
    assert order.line().count(b"\n") == 1
    assert order.log_file == ".sqlqueue/logs/exp_0_42/1.log"


# --- delivery -------------------------------------------------------------------------


@pytest.fixture
def place(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (home.root / "out").mkdir()
    (home.root / "out" / OUTPUT_MARKER).touch()
    return places.shared(home)


def result(order: Order) -> SubmitResult:
    report = outcome.message(order, Ending("COMPLETED", metrics={"acc": 0.5}))
    assert isinstance(report, SubmitResult)
    return report


def finished(place: Place) -> tuple[Order, SubmitResult]:
    """An attempt whose outcome file is there."""
    order = places.shared(place.home).order(task(), f"{names.host()}-cpu", devices.CPU)
    outcome.write(order, Ending("COMPLETED", metrics={"acc": 0.5}))
    return order, result(order)


UNREACHABLE = ManagerUnreachable("no manager")


def test_acked_and_forgotten(place: Place) -> None:
    order, report = finished(place)
    delivery = Delivery(place)
    delivery.settle(report, Ack(), order)
    assert delivery.count() == 0
    assert not Path(order.folder).exists()


def test_saved_in_the_primary_directory(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    order, report = finished(place)
    delivery = Delivery(place)
    delivery.settle(report, UNREACHABLE, order)
    path = place.root / "out" / "unsubmitted" / "exp_0_42-1.json"
    assert "Saved locally (manager unreachable)" in caplog.text
    assert str(path) in caplog.text
    assert list(unsubmitted.scan(path.parent, place.queue)) == [(path, report)]
    assert [each.task_id for each in delivery.of(order.worker_id)] == ["exp_0_42"]


def test_saved_elsewhere_when_the_directory_cannot_be_written(place: Place) -> None:
    order, report = finished(place)
    (place.root / "out" / "unsubmitted").write_text("a file is in the way")
    Delivery(place).settle(report, UNREACHABLE, order)
    assert [path.parent for path, _ in unsubmitted.scan(place.home.unsubmitted)] == [
        place.home.unsubmitted
    ]


def test_a_directory_that_is_not_there_is_not_made_anew(place: Place) -> None:
    order, report = finished(place)
    (place.root / "out" / OUTPUT_MARKER).unlink()
    Delivery(place).settle(report, UNREACHABLE, order)
    assert list((place.root / "out").iterdir()) == []
    assert len(list(unsubmitted.scan(place.home.unsubmitted))) == 1


def test_what_no_disk_takes_is_offered_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    order, report = finished(place)
    shutil.rmtree(order.folder)
    folders = place.unsubmitted_folders("out")
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("in the way")
    delivery = Delivery(place)
    delivery.settle(report, UNREACHABLE, order)
    assert "make room before you stop it" in caplog.text
    folders[1].unlink()
    delivery.flush(Client(place.home))
    assert len(list(unsubmitted.scan(folders[1]))) == 1
    assert "Saved locally (there is room again)" in caplog.text


def test_saved_in_the_state_folder_when_the_home_cannot_be_written(
    place: Place, tmp_path: Path
) -> None:
    order, report = finished(place)
    (place.root / "out" / "unsubmitted").write_text("in the way")
    place.home.unsubmitted.rmdir()
    place.home.unsubmitted.write_text("in the way too")
    Delivery(place).settle(report, UNREACHABLE, order)
    folder = tmp_path / "state" / "sqlqueue" / "unsubmitted" / place.queue
    assert len(list(unsubmitted.scan(folder, place.queue))) == 1


def test_a_folder_that_hangs_is_given_up() -> None:
    release = threading.Event()

    def hang() -> Path:
        release.wait()
        return Path("late")

    assert within(0.05, hang) is None
    release.set()
    assert within(10.0, lambda: Path("soon")) == Path("soon")


class Standing(Disk):
    """A disk that stands still when a file is to be removed."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def unlink(self, path: Path) -> None:
        if path.name.startswith("exp_"):
            self.release.wait()
        super().unlink(path)


def test_a_file_that_cannot_be_removed_for_now_holds_up_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, report = finished(place)
    disk = Standing()
    delivery = Delivery(place, disk)
    delivery.settle(report, UNREACHABLE, order)
    monkeypatch.setattr(delivering, "SAVE_SECONDS", 0.05)
    kept = place.root / "out" / "unsubmitted" / "exp_0_42-1.json"
    timer = threading.Timer(SECONDS, disk.release.set)  # else a failure would hang
    timer.start()
    with Running(place.home), Client(place.home) as client:
        assert delivery.flush(client)
    assert kept.exists()
    assert not disk.release.is_set()
    timer.cancel()
    disk.release.set()
    wait_until(lambda: not kept.exists())


def test_refused_for_good_is_kept_and_said(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    order, report = finished(place)
    delivery = Delivery(place)
    delivery.settle(report, UnknownTask("no task exp_0_42"), order)
    assert delivery.count() == 0
    assert "the manager refuses this report: no task exp_0_42" in caplog.text
    assert len(list(unsubmitted.scan(place.root / "out" / "unsubmitted"))) == 1


def test_failures_and_releases_wait_in_memory(place: Place) -> None:
    order, _ = finished(place)
    delivery = Delivery(place)
    failed = TaskFailed(task_id="exp_0_42", worker_id=order.worker_id, attempt=1, error="boom")
    delivery.settle(failed, UNREACHABLE, order)
    released = Release(task_id="exp_0_42", worker_id=order.worker_id, attempt=1)
    delivery.settle(released, DirectoryUnavailable(), order)
    assert delivery.of(order.worker_id) == [failed, released]
    assert not (place.root / "out" / "unsubmitted").exists()


def test_adopted_only_from_dead_workers_of_this_host_and_queue(place: Place) -> None:
    order, report = finished(place)
    holder = names.take(place.home.workers, "cpu")
    assert holder.text == order.worker_id
    assert Delivery(place).adopt() == 0
    assert Delivery(place).adopt([holder.text]) == 1
    holder.release()
    delivery = Delivery(place)
    assert delivery.adopt() == 1
    assert delivery.of(order.worker_id) == [report]


def test_adopts_what_was_saved_in_home_and_state(place: Place, tmp_path: Path) -> None:
    order, report = finished(place)
    Delivery(place).settle(report, Ack(), order)
    unsubmitted.write(place.home.unsubmitted, report, place.queue)
    state = tmp_path / "state" / "sqlqueue" / "unsubmitted"
    unsubmitted.write(state / place.queue, report, place.queue)
    unsubmitted.write(state / "another", report, "another")
    assert Delivery(place).adopt() == 2


def test_half_an_outcome_is_no_outcome(place: Place) -> None:
    order, _ = finished(place)
    path = Path(order.folder) / outcome.FILE
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:cut])
        assert outcome.read(path.parent) is None
    path.write_bytes(whole)
    assert outcome.read(path.parent) is not None


class CountingDisk(Disk):
    """Real calls; the N-th of them fails."""

    def __init__(self, fails_at: int) -> None:
        self.left = fails_at

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError("the disk fails here")

    def append(self, fd: int, data: bytes) -> None:
        self._step()
        super().append(fd, data)

    def fsync(self, fd: int) -> None:
        self._step()
        super().fsync(fd)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)


def test_an_outcome_is_old_or_new_at_every_disk_call(place: Place) -> None:
    order = places.shared(place.home).order(task(), "w", devices.CPU)
    outcome.write(order, Ending("FAILED", error="old"))
    for call in range(1, 4):
        with pytest.raises(OSError, match="fails here"):
            outcome.write(order, Ending("FAILED", error="new"), CountingDisk(call))
        found = outcome.read(Path(order.folder))
        assert found is not None
        assert found[1].error == "old"


# --- elsewhere ------------------------------------------------------------------------


def test_without_a_shared_home_everything_lies_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    place = places.remote("node7:7433", "secret.fingerprint")
    assert place.root == tmp_path
    assert place.home.path == tmp_path / "state" / "sqlqueue" / "remote" / "node7_7433"
    assert place.home.attempts.is_dir()
    assert all(
        folder.is_relative_to(tmp_path / "state") for folder in place.unsubmitted_folders("out")
    )
    assert places.remote("node7:7433", None).queue == place.queue


def test_host_names_fit() -> None:
    assert names.host() == socket.gethostname()[: names.MAX_HOST_CHARACTERS]


# --- asking --------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [True, False])
def test_what_an_acked_report_left_may_go_later_and_one_that_is_not_acked_is_held(
    place: Place, taken: bool
) -> None:
    """The next task is there already, and an announcement may be made at any moment."""
    name = names.take(place.home.workers, "cpu")
    given, (order, report) = task(task_id="exp_1_2"), finished(place)
    asker = Asker(
        place, Delivery(place), name, devices.CPU, threading.Event(), wait=False, lease_seconds=60.0
    )

    def answer(request: Request) -> Reply:
        if isinstance(request, RequestTask):
            return given
        return Ack() if taken else error_reply(StorageFailure("not now"))

    with Running(place.home) as running:
        running.writer.handler = answer
        assert asker.hand_back(report, order) == given
        held = {each.task_id for each in asker.held()}
    assert held == ({given.task_id} if taken else {given.task_id, report.task_id})
    assert Path(order.folder).exists()
    asker.settle()
    assert Path(order.folder).exists() != taken
    asker.close()
    name.release()


def test_what_was_put_off_is_done_when_a_runner_ends(place: Place) -> None:
    name = names.take(place.home.workers, "cpu")
    stop = threading.Event()
    stop.set()
    asker = Asker(place, Delivery(place), name, devices.CPU, stop, wait=False, lease_seconds=60.0)
    runner = Runner(name, devices.CPU, place, asker, dict(os.environ), 1.0)
    done: list[str] = []
    runner._put_off.append(lambda: done.append("closed"))
    runner.run()
    name.release()
    assert done == ["closed"]


def test_a_request_without_an_answer_is_repeated_under_its_own_id(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a task that was given out meanwhile waits for its lease to lapse."""
    monkeypatch.setattr(asking, "POLL_SECONDS", 0.2)
    heard: list[str | None] = []

    def answer(request: Request) -> Reply:
        if not isinstance(request, RequestTask):
            return Ack()
        heard.append(request.request_id)
        lost = StorageFailure("did not answer")
        return error_reply(lost) if len(heard) == 1 else NoTask(done=len(heard) > 2)

    name = names.take(place.home.workers, "cpu")
    asker = Asker(
        place, Delivery(place), name, devices.CPU, threading.Event(), wait=False, lease_seconds=60.0
    )
    with Running(place.home) as running:
        running.writer.handler = answer
        assert asker.hand_back(None, None) is None
        assert asker.next_task() is None
    asker.close()
    name.release()
    assert heard[0] == heard[1] != heard[2]
