"""The whole manager as a process, with its real writer: load, signals, crashes, waiting."""

from __future__ import annotations

import csv
import json
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from serving import ask, at_end, receive, send

from sqlqueue import protocol
from sqlqueue.errors import ManagerUnreachable, QueueError
from sqlqueue.home import Home
from sqlqueue.worker.client import Client
from support import Cli, ManagerProcess, connect, wait_until

SECONDS = 30.0


@pytest.fixture
def sweep(cli: Cli) -> Callable[[int], None]:
    """Adds so many tasks, each linked to `left` and `right`."""

    def add(count: int) -> None:
        for name in ("left", "right"):
            text = json.dumps(
                {
                    "defaults": {"output_dir": name, "dataset": "digits"},
                    "p": {"combinations": {"seed": list(range(count))}},
                }
            )
            (cli.root / f"{name}.yaml").write_text(text)
        cli.set_up("init", "left.yaml", "right.yaml")

    return add


def submit(task: protocol.TaskReply) -> protocol.SubmitResult:
    return protocol.SubmitResult(
        task_id=task.task_id, worker_id="w", attempt=task.attempt, result_data={"acc": 0.5}
    )


def rows(cli: Cli, name: str) -> list[str]:
    path = cli.root / name / "final_results.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row["task_id"] for row in csv.DictReader(file)]


class Load:
    """Clients that request and submit until there is no task or no manager."""

    def __init__(self, home: Home, clients: int) -> None:
        self.acked: list[str] = []
        self._home = home
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(clients)]
        for each in self._threads:
            each.start()

    def join(self) -> None:
        for each in self._threads:
            each.join(SECONDS)
            assert not each.is_alive()

    def _work(self, number: int) -> None:
        name = f"w{number}"
        with Client(self._home, timeout_seconds=10.0) as client:
            try:
                while isinstance(task := self._request(client, name), protocol.TaskReply):
                    client.submit(submit(task))
                    self.acked.append(task.task_id)
            except QueueError as error:
                assert error.retryable, error

    def _request(self, client: Client, name: str) -> object:
        return client.request_task(protocol.RequestTask(worker_id=name))


def test_a_signal_under_load_loses_nothing_that_was_acked(
    sweep: Callable[[int], None], cli: Cli, manager_process: ManagerProcess, home: Home
) -> None:
    sweep(300)
    manager = manager_process.start()
    load = Load(home, clients=8)
    wait_until(lambda: len(load.acked) > 40, SECONDS)
    assert manager.stop() == 0
    load.join()
    assert 40 < len(load.acked) < 300, "it was stopped in the middle"
    for name in ("left", "right"):
        written = rows(cli, name)
        assert len(written) == len(set(written))
        assert set(load.acked) <= set(written)
    assert "Traceback" not in manager.said


def test_a_kill_under_load_loses_nothing_that_was_acked(
    sweep: Callable[[int], None], cli: Cli, manager_process: ManagerProcess, home: Home
) -> None:
    sweep(200)
    acked: list[str] = []
    for least in (20, 50):
        manager = manager_process.start()
        load = Load(home, clients=4)
        wait_until(lambda load=load, least=least: len(load.acked) > least, SECONDS)
        manager.kill()
        load.join()
        acked += load.acked
    manager_process.start()
    load = Load(home, clients=4)
    load.join()
    acked += load.acked
    manager_process.stop()
    assert len(acked) == len(set(acked))
    for name in ("left", "right"):
        written = rows(cli, name)
        assert len(written) == len(set(written))
        assert set(acked) <= set(written)


def test_a_second_signal_ends_it_at_once(manager: ManagerProcess) -> None:
    process = manager.process
    assert process
    with connect(manager.socket_path) as stubborn:
        stubborn.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                send(stubborn, *([{"type": "status"}] * 100))
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not manager.home.manager_file.exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(3.0) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_stops_it_cleanly(manager: ManagerProcess, number: signal.Signals) -> None:
    assert manager.process
    with connect(manager.socket_path) as idle:
        manager.process.send_signal(number)
        assert manager.process.wait(SECONDS) == 0
        assert at_end(idle)
    assert not manager.home.manager_file.exists()
    assert not manager.home.socket.exists()
    assert f"Stopping: {number.name}" in manager.said


def test_a_second_serve_is_refused_and_names_the_first(manager: ManagerProcess, cli: Cli) -> None:
    assert manager.process
    done = cli("serve")
    assert done.returncode == 1
    assert f"pid {manager.process.pid} on {socket.gethostname()}" in done.stderr
    assert "Traceback" not in done.stderr
    assert manager.ask({"type": "status"})["type"] == "status"


def test_serve_starts_after_a_kill(manager_process: ManagerProcess) -> None:
    for _ in range(2):
        manager_process.start().kill()
        assert manager_process.home.manager_file.exists()
    assert manager_process.start().ask({"type": "status"})["type"] == "status"


def test_serve_without_a_queue_says_what_to_do(cli: Cli, home: Home) -> None:
    home.identity_file.unlink()
    done = cli("serve")
    assert done.returncode == 2
    assert str(home.path) in done.stderr
    assert "Traceback" not in done.stderr


def test_twenty_lines_of_any_language(
    sweep: Callable[[int], None], cli: Cli, manager_process: ManagerProcess
) -> None:
    """No line end, a new connection for each message, four fields; a NaN too."""
    sweep(2)
    manager = manager_process.start()

    def say(text: str) -> bytes:
        with connect(manager.socket_path) as connection:
            connection.sendall(text.encode())
            return connection.recv(65536)

    for loss in ("0.25", "NaN"):
        task = json.loads(say('{"type": "request_task", "worker_id": "gpu0"}'))
        answer = say(
            '{"type": "submit_result", "task_id": "'
            + task["task_id"]
            + '", "worker_id": "gpu0", "result_data": {"phase": "p", "dataset": "digits", '
            + '"model_type": "lr", "mean_test_acc": 0.5, "mean_test_loss": '
            + loss
            + "}}"
        )
        assert json.loads(answer) == {"type": "ack"}
        for name in ("left", "right"):
            assert task["task_id"] in rows(cli, name)


# --- waiting -----------------------------------------------------------------------------------


def test_those_who_wait_hear_of_new_tasks_at_once_and_cost_nothing(
    sweep: Callable[[int], None], manager_process: ManagerProcess
) -> None:
    sweep(1)
    manager = manager_process.start()
    assert manager.process
    assert manager.ask({"type": "request_task", "worker_id": "busy"})["type"] == "task"
    waiting = [connect(manager.socket_path, SECONDS) for _ in range(20)]
    for i, each in enumerate(waiting):
        send(each, {"type": "request_task", "worker_id": f"w{i}", "wait": 60})
    with connect(manager.socket_path) as other:
        spent = psutil.Process(manager.process.pid).cpu_times()
        message = {"type": "request_task", "worker_id": "short", "wait": 1.5}
        assert ask(other, message) == {"type": "no_task", "done": False}
        now = psutil.Process(manager.process.pid).cpu_times()
    assert now.user + now.system - spent.user - spent.system < 0.5, "the waiting keep it busy"
    sweep(21)
    tasks = {receive(each, 1)[0]["task_id"] for each in waiting}
    assert len(tasks) == 20
    for each in waiting:
        each.close()


def test_those_who_wait_hear_that_all_is_done(
    sweep: Callable[[int], None], manager_process: ManagerProcess, home: Home
) -> None:
    sweep(1)
    manager = manager_process.start("--until-done")
    assert manager.process
    with Client(home) as worker, connect(manager.socket_path, SECONDS) as other:
        task = worker.request_task(protocol.RequestTask(worker_id="w"))
        send(other, {"type": "request_task", "worker_id": "other", "wait": 60})
        assert isinstance(task, protocol.TaskReply)
        worker.submit(submit(task))
        assert receive(other, 1) == [{"type": "no_task", "done": True}]
        other.close()
        worker.close()
        assert manager.process.wait(SECONDS) == 0


def test_a_client_finds_a_restarted_manager_by_itself(
    manager_process: ManagerProcess, home: Home
) -> None:
    with Client(home) as client:
        for _ in range(2):
            manager_process.start()
            assert client.status()
            manager_process.kill()
        with pytest.raises(ManagerUnreachable, match=r"refused.*sqlqueue serve"):
            client.status()


def test_over_tcp_with_the_worker_s_token(
    sweep: Callable[[int], None], manager_process: ManagerProcess, home: Home, cli: Cli
) -> None:
    sweep(1)
    manager_process.start("--host", "127.0.0.1", "--port", "0")
    found = home.manager()
    assert found
    token = cli.ok("token").strip().removeprefix("SQLQUEUE_TOKEN=").removeprefix("export ")
    with Client(address=f"127.0.0.1:{found['port']}", token=token) as client:
        task = client.request_task(protocol.RequestTask(worker_id="w"))
        assert isinstance(task, protocol.TaskReply)
        assert client.submit(submit(task)) == protocol.Ack()
        with pytest.raises(QueueError, match=r"worker may not"):
            client.request(protocol.Repair())
    assert rows(cli, "left") == rows(cli, "right") == [task.task_id]


def test_the_home_of_a_deep_folder_works_too(tmp_path: Path, cli: Cli) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    home = Home(deep / ".sqlqueue")
    home.create()
    manager = ManagerProcess(home, Cli(deep, cli.environment), tmp_path / "deep.output")
    manager.start()
    try:
        found = home.manager()
        assert found
        assert Path(found["unix_socket"]).is_absolute()
        with Client(home) as client:
            assert client.status()
    finally:
        assert manager.stop() == 0
    assert not Path(found["unix_socket"]).parent.exists()


@pytest.mark.usefixtures("manager")
def test_a_manager_whose_file_is_removed_names_itself_again(home: Home) -> None:
    said = home.manager()
    home.manager_file.unlink()
    wait_until(home.manager_file.exists, SECONDS, "manager.json is back")
    assert home.manager() == said
