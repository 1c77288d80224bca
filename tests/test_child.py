"""A real child process: what experiments do to it, what it leaves, what the next one sees."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from child_bench import EXPERIMENTS, Bench, bench, ending_of

from sqlqueue.protocol import SubmitResult
from sqlqueue.worker import outcome
from sqlqueue.worker.attempt import Attempt, Stop
from sqlqueue.worker.children import Progress
from support import wait_until

__all__ = ["bench"]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def test_completes_and_is_a_file_before_it_is_a_message(bench: Bench) -> None:
    ending = bench.run("add", a=0.5)
    assert ending.outcome == "COMPLETED"
    assert ending.metrics["total"] == 44.5
    assert ending.seconds >= 0
    assert bench.last is not None
    kept = outcome.read(Path(bench.last.order.folder))
    assert kept is not None
    assert kept[0] == bench.last.order
    assert kept[1].metrics == ending.metrics


def test_what_it_ran_with_is_told_even_of_one_that_died(bench: Bench) -> None:
    ran = bench.run("add")
    assert ran.code_version.startswith("files-")
    assert ran.versions["python"] == platform.python_version()
    assert bench.last is not None
    kept = outcome.read(Path(bench.last.order.folder))
    assert kept is not None
    report = outcome.message(*kept)
    assert isinstance(report, SubmitResult)
    assert (report.code_version, report.versions) == (ran.code_version, ran.versions)
    died = bench.run("segfault")
    assert died.outcome == "FAILED"
    assert (died.code_version, died.versions) == (ran.code_version, ran.versions)


def test_mended_code_is_another_version(bench: Bench) -> None:
    first = bench.run("add").code_version
    module = bench.root / EXPERIMENTS.name
    module.write_text(module.read_text() + "\n# mended\n")
    assert bench.run("add").code_version not in ("", first)


def test_divergence_is_a_result(bench: Bench) -> None:
    metrics = bench.run("diverge").metrics
    assert math.isnan(metrics["loss"])
    assert metrics["peak"] == math.inf


def test_stays_warm_between_tasks_of_one_experiment(bench: Bench) -> None:
    first, second = bench.run("count").metrics, bench.run("count").metrics
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["pid"] == second["pid"]


def test_what_an_attempt_leaves_is_collected_and_what_is_loaded_is_not_looked_through(
    bench: Bench,
) -> None:
    for _ in range(3):
        found = bench.run("leaves_a_ring").metrics
        assert found["left_by_others"] == 0
        assert found["spared"] > 10_000


def test_one_that_came_up_before_there_was_a_task_is_for_the_first(bench: Bench) -> None:
    bench.begin("", Path(os.devnull))
    early = bench.child
    assert bench.run("count").metrics["calls"] == 1
    assert bench.child is early
    assert "count" not in bench.log()
    assert bench.run("add").outcome == "COMPLETED"
    assert bench.child is not early


def test_what_keeps_one_from_coming_up_is_told_with_the_first_task(bench: Bench) -> None:
    (bench.root / "broken").mkdir()
    (bench.root / "broken" / "msgspec.py").write_text("raise ImportError('half installed')")
    path = {"PYTHONPATH": str(bench.root / "broken")}
    bench.begin("", Path(os.devnull), **path)
    order = bench.order("add")
    assert bench.child is not None
    assert not bench.child.fit_for(order.experiment)
    bench.close()
    bench.begin(order.experiment, Path(order.log), **path)
    told = ending_of(Attempt(bench.child, order, None, 5.0, bench.inbox))
    assert "half installed" in told.error


def test_replaced_for_another_experiment(bench: Bench) -> None:
    assert bench.run("count").metrics["pid"] != bench.run("add").metrics["pid"]


def test_replaced_when_the_source_changed(bench: Bench) -> None:
    source = bench.root / EXPERIMENTS.name
    os.utime(source, (1, 1))
    assert bench.run("count").metrics["calls"] == 1
    assert bench.run("count").metrics["calls"] == 2
    source.write_text(source.read_text().replace("len(CALLS)", "len(CALLS) + 100"))
    assert bench.run("count").metrics["calls"] == 101


@pytest.mark.parametrize("how", ["changed", "deleted"])
def test_replaced_when_what_it_imported_late_is_another(bench: Bench, how: str) -> None:
    """A module of a package, imported while the function ran."""
    (bench.root / "parts").mkdir()
    (bench.root / "parts" / "__init__.py").touch()
    late = bench.root / "parts" / "late.py"
    late.write_text("NUMBER = 1\n")
    (bench.root / "lazy.py").write_text(
        "CALLS = []\n\ndef main(seed: int):\n    from parts import late\n"
        "    CALLS.append(seed)\n    return {'number': late.NUMBER, 'calls': len(CALLS)}\n"
    )
    for each in bench.root.rglob("*.py"):
        os.utime(each, (1, 1))
    assert bench.run("lazy:main").metrics == {"number": 1, "calls": 1}
    assert bench.run("lazy:main").metrics == {"number": 1, "calls": 2}
    if how == "changed":
        late.write_text("NUMBER = 2\n")
        assert bench.run("lazy:main").metrics == {"number": 2, "calls": 1}
    else:
        late.unlink()
        assert "cannot import name 'late'" in bench.run("lazy:main").error


def test_output_goes_to_the_log_of_its_attempt(bench: Bench) -> None:
    bench.run("say", lines=2)
    first = bench.log()
    bench.run("say", lines=1)
    assert first.splitlines() == [
        "line 0 of 42", "line 1 of 42", "to stderr", "straight to the descriptor",
    ]  # fmt: skip
    assert bench.log().count("line") == 1


def test_megabytes_of_output(bench: Bench) -> None:
    assert bench.run("shout", megabytes=8).outcome == "COMPLETED"
    assert bench.last is not None
    assert Path(bench.last.order.log).stat().st_size == 8 * 16 * 65536


def test_what_an_attempt_spoils_the_next_does_not_find(bench: Bench) -> None:
    source = bench.root / EXPERIMENTS.name
    source.write_text(
        source.read_text()
        + "\n\ndef both(seed: int, turn: int):\n"
        + "    return surroundings(seed) if turn else spoil(seed)\n"
    )
    os.utime(source, (1, 1))
    assert bench.run("both", turn=0).metrics == {"spoiled": True}
    found = bench.run("both", turn=1).metrics
    assert found == {
        "cwd": str(bench.root), "mark": "", "path": os.environ["PATH"], "stdin": "",
        "umask": oct(umask()),
    }  # fmt: skip
    assert "printed again" in bench.log()
    assert bench.run("both", turn=0).outcome == "COMPLETED"


def test_a_thread_left_over_retires_the_child(bench: Bench) -> None:
    ending = bench.run("leave_thread")
    assert (ending.outcome, ending.retire) == ("COMPLETED", True)
    assert "left-over" in bench.log()
    assert bench.run("leave_thread").metrics["pid"] != ending.metrics["pid"]


def test_a_thread_left_over_does_not_keep_a_child_that_cannot_write(bench: Bench) -> None:
    assert bench.run("leave_thread_and_no_log", timeout=20).outcome == "COMPLETED"


FAILURES: list[tuple[str, str, str]] = [
    ("boom", "FAILED", "ValueError: no luck with 42"),
    ("hungry", "OOM", "MemoryError"),
    ("cuda_hungry", "OOM", "CUDA out of memory"),
    ("leave", "FAILED", "sys.exit(3)"),
    ("leave_now", "FAILED", "exit status 5"),
    ("segfault", "FAILED", "SIGSEGV"),
    ("kill_self", "FAILED", "SIGKILL"),
    ("nothing", "FAILED", "expected a dict of metrics"),
    ("no_such_function", "FAILED", "no_such_function"),
]


@pytest.mark.parametrize(("function", "expected", "said"), FAILURES)
def test_every_way_to_fail(bench: Bench, function: str, expected: str, said: str) -> None:
    ending = bench.run(function)
    assert (ending.outcome, ending.metrics) == (expected, {})
    assert said in ending.error
    assert function == "segfault" or "sqlqueue/worker" not in ending.error
    assert bench.run("add").outcome == "COMPLETED"


def test_a_traceback_shows_the_users_frames_only(bench: Bench) -> None:
    error = bench.run("boom").error
    assert error.startswith("Traceback (most recent call last):")
    assert error.count("File ") == 1
    assert 'raise ValueError(f"no luck with {seed}")' in error
    assert "no luck" in bench.log()


def test_a_death_shows_the_last_lines_of_the_log(bench: Bench) -> None:
    assert "last words" in bench.run("leave_now").error
    assert "ctypes.string_at" in bench.run("segfault").error or "string_at" in bench.log()


def test_metrics_too_large_for_a_message_go_to_a_file(bench: Bench) -> None:
    ending = bench.run("huge")
    assert ending.outcome == "COMPLETED"
    assert ending.metrics["acc"] == 0.5
    path = Path(ending.metrics["predictions"].split(" (")[0])
    assert json.loads(path.read_text()) == list(range(2_000_000))


def test_closed_descriptors_do_not_lose_the_result(bench: Bench) -> None:
    assert bench.run("close_everything").metrics == {"closed": True}
    assert bench.last is not None
    assert bench.last.child_lost
    assert bench.run("add").outcome == "COMPLETED"


def test_nothing_is_written_to_descriptors_that_are_the_users_now(bench: Bench) -> None:
    assert bench.run("take_descriptors").metrics == {"taken": True}
    assert (bench.root / "mine").read_bytes() == b""


def test_a_forked_copy_is_not_the_attempt(bench: Bench) -> None:
    assert bench.run("fork_twin").metrics == {"twin": False}


def test_an_outcome_that_cannot_be_saved_still_arrives(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "attempts").write_text("in the way")
    assert bench.run("add").outcome == "COMPLETED"


def test_the_handle(bench: Bench) -> None:
    found = bench.run("progress").metrics
    assert found["device"] == "cpu"
    assert found["run_seed"] == 42
    assert Path(found["directory"]).is_dir()
    assert bench.last is not None
    assert isinstance(bench.last.progress, Progress)
    assert bench.last.progress.total == 1000
    assert math.isnan(bench.last.progress.metrics["loss"])


def test_the_time_limit_ends_the_whole_group(bench: Bench) -> None:
    ending = bench.run("stubborn", timeout=3.0, grace=0.2)
    assert ending.outcome == "TIMEOUT"
    assert "time limit of 3 s" in ending.error
    pids = list(map(int, (bench.root / "started-42").read_text().split()))
    assert len(pids) == 2
    wait_until(lambda: not any(map(alive, pids)), what="the end of the group")


def test_completed_within_the_grace_is_complete(bench: Bench) -> None:
    order = bench.order("finish_when_told")
    attempt = Attempt(bench.ready(order), order, None, 20.0, bench.inbox)
    stop_when(bench, "started-42", Stop())
    ending = ending_of(attempt)
    assert (attempt.why, ending.outcome, ending.metrics) == ("stop", "COMPLETED", {"whole": True})


def test_partial_metrics_of_a_stopped_experiment_are_no_result(bench: Bench) -> None:
    order = bench.order("wait_for_file")
    attempt = Attempt(bench.ready(order), order, None, 20.0, bench.inbox)
    stop_when(bench, "started-42", Stop())
    ending = ending_of(attempt)
    assert (attempt.why, ending.outcome) == ("stop", "STOPPED")
    assert (bench.root / "stopped-42").exists()


def test_a_stop_that_nobody_sent_is_a_failure(bench: Bench) -> None:
    ending = bench.run("kill_self", number=int(signal.SIGTERM))
    assert ending.outcome == "COMPLETED"  # it never asked, and returned what it had
    ending = bench.run("kill_self", number=int(signal.SIGHUP))
    assert ending.outcome == "FAILED"
    assert "did not send" in ending.error


def stop_when(bench: Bench, name: str, event: Any) -> None:
    """Puts the event into the inbox as soon as the file is there."""

    def wait() -> None:
        wait_until((bench.root / name).exists, 30)
        bench.inbox.put(event)

    threading.Thread(target=wait, daemon=True).start()


def test_a_child_that_died_idle_is_replaced(bench: Bench) -> None:
    pid = bench.run("count").metrics["pid"]
    child = bench.child
    assert child is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not child.fit_for(child.experiment))
    assert bench.run("count").metrics["calls"] == 1
