"""`doctor`: each illness of a home, a directory or a manager, made for real, is found, told with
its cure, and gone once the cure was typed.

What is not here: mounts (`test_doctor_filesystems.py`), this machine (`test_doctor_machine.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from needs import need
from ward import Ward, ward

from sqlqueue import keys
from sqlqueue.disk import Disk
from sqlqueue.doctor import managing
from support import ManagerProcess, sqlqueue_command, wait_until


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    with ward(tmp_path, monkeypatch) as made:
        yield made


def test_a_healthy_queue_is_told_nothing(patient: Ward) -> None:
    before = tree(patient.root)
    assert (patient.visit(), patient.told) == (0, [])
    assert tree(patient.root) == before


def tree(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(each): (each.lstat().st_mode, each.read_bytes() if each.is_file() else None)
        for each in sorted(folder.rglob("*"))
    }


class Illness(NamedTuple):
    """What is done to the queue, and what the doctor calls it."""

    kind: str
    make: Callable[[Ward], Any]
    severity: str = "problem"
    root: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{getattr(self.make, '__name__', '')}".replace("<lambda>", "")


def write(name: str, data: bytes | str) -> Callable[[Ward], Any]:
    """A file of the home with other content."""
    content = data if isinstance(data, bytes) else data.encode()
    return lambda ward: (ward.home.path / name).write_bytes(content)


def old_temporary_file(ward: Ward) -> None:
    path = ward.home.path / ".queue.json.17.tmp"
    path.touch()
    os.utime(path, (1e9, 1e9))


def symlinked_home(ward: Ward) -> None:
    ward.home.path.rename(ward.root / "elsewhere")
    ward.home.path.symlink_to("elsewhere")


def long_home(ward: Ward) -> None:
    ward.path = ward.root / ("x" * 120)
    (ward.root / ".sqlqueue").rename(ward.path)


def salvaged(ward: Ward) -> None:
    (ward.home.salvage / "tail").write_bytes(b"a remark")


def row_of(ward: Ward) -> str:
    return ward.csv.read_text().splitlines()[-1] + "\n"


def a_row_cut_off(ward: Ward) -> None:
    """As when a manager dies before it commits what it appended, and the task is delivered then."""
    with ward.csv.open("a") as file:
        file.write(row_of(ward))
    ward.cure("sqlqueue verify --repair")


def secret_is_a_folder(ward: Ward) -> None:
    (ward.home.path / keys.OWNER).unlink()
    (ward.home.path / keys.OWNER).mkdir()


HOME = [
    Illness("home-open", lambda ward: ward.home.path.chmod(0o755)),
    Illness("home-file-open", lambda ward: (ward.home.path / keys.WORKER).chmod(0o644)),
    Illness("home-file-open", lambda ward: ward.home.database.chmod(0o666)),
    Illness("home-unreadable", lambda ward: ward.home.path.chmod(0o400)),
    Illness("home-owner", lambda ward: os.chown(ward.home.database, 65534, -1), root=True),
    Illness("home-owner", lambda ward: os.chown(ward.home.path, 65534, -1), root=True),
    Illness("home-secret-missing", lambda ward: (ward.home.path / keys.WORKER).unlink()),
    Illness("home-secret-missing", lambda ward: (ward.home.path / keys.CERTIFICATE).unlink()),
    Illness("home-secret-damaged", write(keys.OWNER, "")),
    Illness("home-secret-damaged", write(keys.CERTIFICATE, "nothing")),
    Illness("home-secret-damaged", secret_is_a_folder),
    Illness("home-damaged", write("queue.json", "{")),
    Illness("home-damaged", write("queue.json", "[" * 100_000)),
    Illness("home-damaged", lambda ward: ward.home.identity_file.unlink()),
    Illness("home-in-open-folder", lambda ward: ward.root.chmod(0o777), "warning"),
    Illness("home-leftover", old_temporary_file, "note"),
    Illness("home-symlink", symlinked_home, "note"),
    Illness("home-long-path", long_home, "note"),
    Illness("home-salvage", salvaged, "note"),
    Illness("home-salvage-rows", a_row_cut_off, "note"),
    Illness("home-missing", lambda ward: shutil.rmtree(ward.home.path), "note"),
]


def test_what_may_be_missed_is_not_taken_for_rows_that_are_there(patient: Ward) -> None:
    a_row_cut_off(patient)
    [own] = patient.home.salvage.iterdir()
    row = row_of(patient)
    others = (row[:-1], row + "a remark\n", row.replace("one_0", "one_1"), row + "\n",
              row.replace(f"{1:032x}", f"{2:032x}"), "", "\xff,")  # fmt: skip
    for number, text in enumerate(others):
        (patient.home.salvage / f"other-{number}").write_bytes(text.encode("latin-1"))
    (patient.home.salvage / "folder").mkdir()
    assert patient.visit() == 0
    found = {each["kind"]: each for each in patient.told}
    assert found["home-salvage"]["found"] == f"{len(others) + 1} files"
    assert found["home-salvage-rows"]["found"] == "1 file"
    assert own.name in found["home-salvage-rows"]["cure"]


# --- the database ---------------------------------------------------------------------


def cut_short(ward: Ward) -> None:
    os.truncate(ward.home.database, ward.home.database.stat().st_size // 2)


def a_page_of_noise(ward: Ward) -> None:
    """One that nothing reads before it is looked at."""
    with closing(sqlite3.connect(ward.home.database)) as base:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'ix_attempts_request'"
        (page,) = base.execute(query).fetchone()
    with ward.home.database.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xff" * 4096)


def statement(sql: str) -> Callable[[Ward], Any]:
    def make(ward: Ward) -> None:
        with closing(sqlite3.connect(ward.home.database)) as base:
            base.execute(sql)
            base.commit()

    return make


DATABASE = [
    Illness("database-unusable", cut_short),
    Illness("database-unusable", write("queue.db", b"a,b\n1,2\n" * 100)),
    Illness("database-unusable", statement("DROP TABLE alembic_version")),
    Illness("database-damaged", a_page_of_noise),
    Illness("database-missing", lambda ward: ward.home.database.unlink(), "warning"),
    Illness("database-old", statement("UPDATE alembic_version SET version_num = '0000'"), "note"),
    Illness("database-new", statement("UPDATE alembic_version SET version_num = '9'")),
    Illness("clock-behind-queue", statement("UPDATE tasks SET created_at = 4e9"), "warning"),
]


# --- output directories -----------------------------------------------------------------


def in_results(name: str, data: str) -> Callable[[Ward], Any]:
    def make(ward: Ward) -> None:
        path = ward.csv.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(data)

    return make


def a_file_for_a_folder(ward: Ward) -> None:
    shutil.rmtree(ward.csv.parent)
    ward.csv.parent.touch()


def linked(ward: Ward) -> None:
    ward.csv.rename(ward.root / "mine.csv")
    ward.csv.symlink_to(ward.root / "mine.csv")


def set_aside(ward: Ward) -> None:
    ward.csv.write_text("mine\n")
    ward.cure("sqlqueue verify --repair")


def waiting_elsewhere(ward: Ward) -> None:
    """In the user's state folder, where a worker that could write nowhere else left it."""
    folder = Path(os.environ["XDG_STATE_HOME"]) / "sqlqueue/unsubmitted" / ward.home.queue_id()
    folder.mkdir(parents=True)
    (folder / "one_1-1.json").write_text("{}")


OTHER = json.dumps({"format": 1, "queue": "0" * 32})
DIRECTORIES = [
    Illness("dir-missing", lambda ward: shutil.rmtree(ward.csv.parent)),
    Illness("dir-not-a-folder", a_file_for_a_folder),
    Illness("dir-foreign", in_results(".sqlqueue.json", OTHER)),
    Illness("dir-unmarked", in_results(".sqlqueue.json", "{"), "warning"),
    Illness("dir-unmarked", lambda ward: (ward.csv.parent / ".sqlqueue.json").unlink(), "warning"),
    Illness("dir-not-writable", lambda ward: ward.csv.parent.chmod(0o555)),
    Illness("dir-no-csv", lambda ward: ward.csv.unlink(), "warning"),
    Illness("dir-csv-not-a-file", linked, "warning"),
    Illness("dir-csv-read-only", lambda ward: ward.csv.chmod(0o444)),
    Illness("dir-csv-changed", lambda ward: ward.csv.write_text("a,b\n"), "warning"),
    Illness("results-waiting", in_results("unsubmitted/one_1-1.json", "{}"), "warning"),
    Illness("results-waiting", waiting_elsewhere, "warning"),
    Illness("dir-set-aside", set_aside, "note"),
]


# --- the manager ------------------------------------------------------------------------


def manager_file(**fields: Any) -> Callable[[Ward], Any]:
    """What a manager left that is not there any more."""

    def make(ward: Ward) -> None:
        said = {"pid": 2**22 + 1, "hostname": socket.gethostname(), "unix_socket": "manager.sock",
                "host": None, "port": None, "started_at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
        ward.home.manager_file.write_text(json.dumps(said | fields))

    return make


def another_program(ward: Ward) -> None:
    manager_file(pid=ward.start("sleep", "60").pid)(ward)


def the_original_s_manager(ward: Ward) -> None:
    """It bears the right name, and has nothing of this home open."""
    other = ward.start("sh", "-c", "sleep 60; : sqlqueue")
    manager_file(pid=other.pid, started_at="2200-01-01T00:00:00+00:00")(ward)


def a_deaf_manager(ward: Ward) -> None:
    """Its socket takes connections, and nobody answers."""
    bound = ward.stack.enter_context(socket.socket(socket.AF_UNIX))
    bound.bind(str(ward.home.socket))
    bound.listen()
    ward.home.socket.chmod(0o600)
    home = str(ward.home.identity_file)
    deaf = ward.start("sh", "-c", 'exec 9<"$0"; sleep 60; : sqlqueue', home)
    manager_file(pid=deaf.pid, started_at="2200-01-01T00:00:00+00:00")(ward)


def instead(make: Callable[[Path], Any]) -> Callable[[Ward], Any]:
    return lambda ward: make(ward.home.manager_file)


MANAGER = [
    Illness("manager-dead", manager_file(), "warning"),
    Illness("manager-other-program", another_program, "warning"),
    Illness("manager-other-program", the_original_s_manager, "warning"),
    Illness("manager-silent", a_deaf_manager),
    Illness("manager-elsewhere", manager_file(hostname="node7.invalid"), "warning"),
    Illness("manager-file-damaged", instead(Path.mkdir)),
    Illness("manager-file-damaged", instead(os.mkfifo)),
    Illness("manager-file-damaged", instead(lambda path: path.write_text("{"))),
    Illness("manager-file-damaged", instead(lambda path: path.write_text("[" * 60_000))),
]


@pytest.mark.parametrize("ill", [*HOME, *DATABASE, *DIRECTORIES, *MANAGER], ids=str)
def test_an_illness_is_found_and_cured_by_what_is_said(patient: Ward, ill: Illness) -> None:
    need(not ill.root or os.geteuid() == 0, "root, to give a file to another user")
    ill.make(patient)
    is_found_and_cured(patient, ill)


def is_found_and_cured(patient: Ward, ill: Illness) -> None:
    """The finding, its severity, the exit status; what has a command as its cure is cured by it."""
    status = patient.visit()
    found = patient.finding(ill.kind)
    assert found, [each["kind"] for each in patient.told]
    assert found["severity"] == ill.severity
    assert found["cure"] and found["about"] and found["found"] and found["why"]
    assert status == any(each["severity"] != "note" for each in patient.told)
    assert "{" not in found["cure"].replace('{"format', "")
    if found["command"]:
        patient.cure(found["command"])
        patient.visit()
        assert patient.finding(ill.kind) is None


# --- a manager that runs ----------------------------------------------------------------


@pytest.fixture
def running(patient: Ward, tmp_path: Path) -> Iterator[ManagerProcess]:
    manager = ManagerProcess(patient.home, patient.cli, tmp_path / "manager.output")
    manager.start("--host", "127.0.0.1")
    yield manager
    if manager.process is not None:
        manager.process.send_signal(signal.SIGCONT)
        manager.stop()


def exchanged_certificate(ward: Ward, _: ManagerProcess) -> None:
    (ward.home.path / keys.CERTIFICATE).unlink()
    keys.create(ward.home)


def exchanged_secret(ward: Ward, _: ManagerProcess) -> None:
    (ward.home.path / keys.OWNER).unlink()
    keys.create(ward.home)


def paused(_: Ward, manager: ManagerProcess) -> None:
    assert manager.process
    manager.process.send_signal(signal.SIGSTOP)
    status = Path(f"/proc/{manager.process.pid}/status")
    wait_until(lambda: "T (stopped)" in status.read_text())


def of_another_version(ward: Ward, _: ManagerProcess) -> None:
    said = json.loads(ward.home.manager_file.read_text()) | {"version": "0.0.1"}
    Disk().write_beside(ward.home.manager_file, json.dumps(said).encode(), 0o600)


def behind_a_firewall(ward: Ward, _: ManagerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    said = json.loads(ward.home.manager_file.read_text()) | {"port": port}
    Disk().write_beside(ward.home.manager_file, json.dumps(said).encode(), 0o600)


def few_files(_: Ward, manager: ManagerProcess) -> None:
    import resource

    assert manager.process
    resource.prlimit(manager.process.pid, resource.RLIMIT_NOFILE, (150, 200))


def a_directory_in_trouble(ward: Ward, manager: ManagerProcess) -> None:
    """Gone while a result for it arrives."""
    shutil.rmtree(ward.csv.parent)
    manager.ask({"type": "submit_result", "task_id": "one_1", "worker_id": "w",
                 "result_data": {"y": 2}})  # fmt: skip


ALIVE: list[tuple[str, str, Callable[[Ward, ManagerProcess], Any]]] = [
    ("manager-paused", "problem", paused),
    ("manager-other-certificate", "problem", exchanged_certificate),
    ("manager-other-secret", "problem", exchanged_secret),
    ("manager-version", "warning", of_another_version),
    ("manager-tcp-silent", "warning", behind_a_firewall),
    ("manager-few-files", "warning", few_files),
    ("dir-suspended", "problem", a_directory_in_trouble),
]


def test_a_healthy_manager_is_told_nothing(patient: Ward, running: ManagerProcess) -> None:
    assert running.said
    assert (patient.visit(), patient.told) == (0, [])


@pytest.mark.parametrize(("kind", "severity", "make"), ALIVE, ids=[each[0] for each in ALIVE])
def test_what_is_wrong_with_a_running_manager(
    patient: Ward,
    running: ManagerProcess,
    kind: str,
    severity: str,
    make: Callable[[Ward, ManagerProcess], Any],
) -> None:
    make(patient, running)
    is_found_and_cured(patient, Illness(kind, make, severity))


@pytest.mark.usefixtures("running")
def test_a_lock_removed_under_a_manager_is_told(patient: Ward) -> None:
    """The manager makes it anew at its next commit, and that may come before the doctor looks."""
    for _ in range(20):
        patient.home.lock.unlink(missing_ok=True)
        status = patient.visit()
        if found := patient.finding("manager-no-lock"):
            break
    else:
        pytest.fail("never told")
    assert (status, found["severity"]) == (1, "problem")
    assert found["cure"] and found["about"] and found["found"] and found["why"]


def test_a_manager_on_all_interfaces(patient: Ward) -> None:
    """In a network of its own, which the doctor enters."""
    need(os.geteuid() == 0 and shutil.which("nsenter") is not None, "root and nsenter")
    manager = patient.start("unshare", "-n", *sqlqueue_command("serve", "--port", "0"))
    wait_until(patient.home.manager, 30)
    command = ["nsenter", "-t", str(manager.pid), "-n", *sqlqueue_command("doctor", "--json")]
    done = subprocess.run(command, cwd=patient.root, capture_output=True, text=True, timeout=60)
    manager.terminate()
    manager.wait(20)
    assert '"manager-all-interfaces"' in done.stdout


WORKERS = [{"host": "node7", "device": "cuda:0", "state": state} for state in ("running", "idle")]


def test_what_the_figures_of_a_manager_tell() -> None:
    figures = {"as_of": "2026-01-01T00:00:00+00:00", "manager": {"host": "node7"}}
    kinds = [each.kind.name for each in managing._figures(figures | {"workers": WORKERS})]
    assert kinds == ["manager-clock", "gpu-shared"]


def test_a_secret_is_never_shown(patient: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = (patient.home.path / keys.WORKER).read_text().strip()
    monkeypatch.setenv("SQLQUEUE_TOKEN", f"{secret}.{'0' * 64}")
    assert patient.visit() == 1
    assert patient.finding("token-certificate")
    assert secret not in json.dumps(patient.told)


def test_what_never_was_a_home_is_a_wrong_command_line(patient: Ward) -> None:
    (patient.root / "full").mkdir()
    (patient.root / "full" / "paper.tex").touch()
    for name in ("full", "full/paper.tex"):
        done = patient.cli("doctor", "--home", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--home" in done.stderr


def test_the_findings_are_the_manual(patient: Ward) -> None:
    """docs/DOCTOR.md has the table that the code makes."""
    from source import REPOSITORY
    from sqlqueue.doctor.words import table

    assert patient.visit() == 0  # every module is there
    assert table() in (REPOSITORY / "docs" / "DOCTOR.md").read_text(encoding="utf-8")
