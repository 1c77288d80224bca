"""Workers where not everything is at hand: another machine, a directory that went away."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from worker_queue import SECONDS, Queue

from sqlqueue.protocol import RequestTask, TaskReply
from sqlqueue.worker import names
from sqlqueue.worker.client import Client
from support import Cli, wait_until


def remote_worker(queue: Queue, folder: Path) -> list[str]:
    """The arguments of a worker that shares no home with the manager."""
    folder.mkdir()
    shutil.copy(queue.root / "experiments_for_tests.py", folder)
    found = queue.home.manager()
    assert found is not None
    return ["work", "--cpu", "--manager", f"127.0.0.1:{found['port']}"]


def test_a_worker_elsewhere(queue: Queue, tmp_path: Path) -> None:
    queue.init("surroundings", [1])
    queue.manager.start("--host", "127.0.0.1", "--port", "0")
    folder = tmp_path / "elsewhere"
    elsewhere = Cli(folder, queue.cli.environment)
    token = queue.cli.ok("token").strip().removeprefix("export ").removeprefix("SQLQUEUE_TOKEN=")
    done = elsewhere(*remote_worker(queue, folder), SQLQUEUE_TOKEN=token)
    assert done.returncode == 0, done.stderr
    [row] = queue.rows()
    assert row["cwd"] == str(folder)
    assert sorted(each.name for each in folder.iterdir() if each.name != "__pycache__") == [
        "experiments_for_tests.py"
    ]


def test_a_worker_elsewhere_keeps_its_result_while_the_manager_is_away(
    queue: Queue, tmp_path: Path
) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start("--host", "127.0.0.1", "--port", "0")
    found = queue.home.manager()
    assert found is not None
    folder = tmp_path / "elsewhere"
    arguments = remote_worker(queue, folder)
    token = queue.cli.ok("token").strip().removeprefix("export ").removeprefix("SQLQUEUE_TOKEN=")
    elsewhere = Cli(folder, queue.cli.environment)
    process = elsewhere.start(*arguments, output=queue.output, SQLQUEUE_TOKEN=token)
    queue.workers.append(process)
    wait_until((folder / "started-1").exists, SECONDS, queue.said)
    queue.manager.kill()
    (folder / "go").touch()
    queue.says("Saved locally (manager unreachable)")
    state = tmp_path / "state" / "sqlqueue" / "remote"
    assert len(list(state.glob("*/unsubmitted/exp_0_1-1.json"))) == 1
    assert not (folder / "results").exists()
    queue.manager.start("--host", "127.0.0.1", "--port", str(found["port"]))
    assert process.wait(SECONDS) == 0
    assert len(queue.rows()) == 1
    assert list(state.glob("*/unsubmitted/*.json")) == []


def test_with_no_manager_status_tells_who_of_this_host_works(queue: Queue) -> None:
    """One that lives runs what it has; of one that was killed that is known; of others nothing."""
    queue.init("wait_for_file", [1, 2])
    queue.manager.start()
    other = {"worker_id": f"{names.host()}-other", "host": names.host(), "worker_type": "cpu"}
    with Client(queue.home) as client:
        assert isinstance(client.request(RequestTask(**other)), TaskReply)
    worker = queue.worker()
    queue.started(2)
    queue.manager.kill()
    own = f"{names.host()}-cpu"
    assert states(queue) == {own: ("running", 1), other["worker_id"]: ("running", 1)}
    worker.kill()
    worker.wait()
    assert states(queue) == {own: ("gone", 0), other["worker_id"]: ("running", 1)}


def states(queue: Queue) -> dict[str, tuple[str, int]]:
    """Of each worker its state and how many tasks it runs, as `status` says it."""
    workers = queue.status()["workers"]
    return {each["worker_id"]: (each["state"], len(each["tasks"])) for each in workers}


def test_two_machines_of_one_host_name(queue: Queue, tmp_path: Path) -> None:
    """Each runs what it was given; one that starts again takes up its own name, not the other's."""
    queue.init("wait_for_file", [1, 2])
    queue.manager.start("--host", "127.0.0.1", "--port", "0")
    folder = tmp_path / "elsewhere"
    arguments = remote_worker(queue, folder)
    token = queue.cli.ok("token").strip().removeprefix("export ").removeprefix("SQLQUEUE_TOKEN=")
    elsewhere = Cli(folder, queue.cli.environment | {"SQLQUEUE_TOKEN": token})

    def worker(state: str) -> subprocess.Popen[bytes]:
        state = str(tmp_path / state)
        process = elsewhere.start(*arguments, output=queue.output, XDG_STATE_HOME=state)
        queue.workers.append(process)
        return process

    first = worker("one")
    wait_until((folder / "started-1").exists, SECONDS, queue.said)
    second = worker("two")
    wait_until((folder / "started-2").exists, SECONDS, queue.said)
    held = {task: who for who, task in holders(queue)}
    assert held.keys() == {"exp_0_1", "exp_1_2"}
    assert len(set(held.values())) == 2
    assert all(each.endswith("-cpu") for each in held.values())
    assert {outcome for *_, outcome in queue.attempts()} == {"RUNNING"}
    first.kill()
    first.wait()
    (folder / "started-1").unlink()
    again = worker("one")
    wait_until((folder / "started-1").exists, SECONDS, queue.said)
    assert {task: who for who, task in holders(queue)} == held
    (folder / "go").touch()
    assert (second.wait(SECONDS), again.wait(SECONDS)) == (0, 0)
    assert queue.attempts() == [
        ("exp_0_1", 1, "RELEASED"), ("exp_0_1", 2, "COMPLETED"), ("exp_1_2", 1, "COMPLETED")
    ]  # fmt: skip


def holders(queue: Queue) -> list[tuple[str, str]]:
    """(worker, task) of what runs, as `status` says it."""
    workers = queue.status()["workers"]
    return [(each["worker_id"], task["task_id"]) for each in workers for task in each["tasks"]]


def test_a_directory_that_cannot_be_written_for_a_while(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker("cpu=True, lease_seconds=2.0")
    queue.started()
    results, aside = queue.root / "results", queue.root / "aside"
    results.rename(aside)
    results.write_text("in the way")
    queue.go()
    queue.says("Saved locally")
    kept = queue.home.unsubmitted / "exp_0_1-1.json"
    assert kept.exists()
    results.unlink()
    aside.rename(results)
    assert process.wait(SECONDS) == 0
    assert len(queue.rows()) == 1
    assert not kept.exists()
    assert queue.attempts() == [("exp_0_1", 1, "COMPLETED")]
