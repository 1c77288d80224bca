"""Children that misbehave: the supervisor lives, the next attempt runs, each attempt has a
truthful ending, and nothing that descends from a child is left running.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from child_bench import Bench, bench, ending_of, marked

from sqlqueue.worker import captured
from sqlqueue.worker.attempt import Attempt, Stop
from support import wait_until

__all__ = ["bench"]

SECONDS = 30.0


@pytest.fixture(autouse=True)
def nothing_is_left(bench: Bench) -> Iterator[None]:
    """After every test: the next attempt runs, and then nothing does."""
    yield
    assert bench.run("add").outcome == "COMPLETED"
    bench.close()
    wait_until(lambda: not marked(bench.mark), SECONDS, "the end of all that was started")


def run(bench: Bench, function: str, **config: Any) -> Any:
    return bench.run(f"misbehaving:{function}", **config)


# --- what it prints -----------------------------------------------------------------------


@pytest.mark.parametrize("newlines", [True, False])
def test_much_output_is_bounded_and_says_what_was_left_out(bench: Bench, newlines: bool) -> None:
    assert run(bench, "print_much", megabytes=100, newlines=newlines).outcome == "COMPLETED"
    text = bench.log()
    assert len(text) <= captured.MOST_BYTES
    assert text.startswith("the first words\n")
    assert text.endswith("the last words\n")
    [said] = [line for line in text.splitlines() if "left out here" in line]
    told = int(said.split("about ")[1].split()[0].replace(",", ""))
    kept = len(text) - len(said) - 2
    assert abs(told + kept - (100 << 20) - 32) < 2 << 20  # what came in the instants of cutting


@pytest.mark.crash
def test_gigabytes_of_output_are_bounded(bench: Bench) -> None:
    ending = run(bench, "print_much", megabytes=3000, newlines=True)
    assert ending.outcome == "COMPLETED", ending.error
    text = bench.log()
    assert len(text) <= captured.MOST_BYTES
    assert text.endswith("the last words\n")


def test_output_below_the_bound_is_whole(bench: Bench) -> None:
    run(bench, "print_much", megabytes=8)
    assert len(bench.log()) == (8 << 20) + 32


def test_output_that_is_no_text(bench: Bench) -> None:
    assert run(bench, "print_no_text").metrics == {"printed": True}
    assert bench.last is not None
    data = Path(bench.last.order.log).read_bytes()
    assert data.startswith(bytes(range(256)) * 64)
    assert b"lone \\ud800 surrogate\0" in data


def test_a_log_that_takes_no_more_does_not_end_the_attempt(bench: Bench) -> None:
    assert run(bench, "print_into_full_disk").metrics == {"printed": True}


def test_a_log_without_a_name_is_bounded_too(bench: Bench) -> None:
    ending = run(bench, "remove_log_and_print", megabytes=64, timeout=SECONDS)
    assert ending.outcome == "COMPLETED", ending.error
    assert ending.metrics["left"] <= captured.MOST_BYTES


# --- what it leaves behind ----------------------------------------------------------------


def daemons(bench: Bench, count: int = 3) -> list[int]:
    """Their numbers, which they wrote before the experiment went on."""
    return [int((bench.root / f"daemon-{number}").read_text()) for number in range(count)]


def living(bench: Bench, pids: list[int]) -> list[int]:
    return [each for each in marked(bench.mark) if each in pids]


def test_daemons_end_with_their_child(bench: Bench) -> None:
    assert run(bench, "leave_daemons").outcome == "COMPLETED"
    left = daemons(bench)
    assert sorted(living(bench, left)) == sorted(left)
    bench.close()
    assert not living(bench, left)


def test_daemons_of_a_child_that_died_end_before_it_is_said(bench: Bench) -> None:
    began = time.monotonic()
    ending = run(bench, "leave_daemons_and_die")
    assert (ending.outcome, "SIGKILL" in ending.error) == ("FAILED", True)
    assert not living(bench, daemons(bench))
    assert time.monotonic() - began < SECONDS / 2  # nobody waited for the pipes that they hold


def test_daemons_end_at_the_time_limit(bench: Bench) -> None:
    ending = run(bench, "leave_daemons_and_wait", timeout=2.0, grace=0.1)
    assert ending.outcome == "TIMEOUT"
    assert not living(bench, daemons(bench))


def test_a_family_that_does_not_hold_still_is_ended(bench: Bench) -> None:
    ending = run(bench, "fork_for_ever", timeout=2.0, grace=0.1)
    assert ending.outcome == "TIMEOUT"
    assert not marked(bench.mark)


def test_a_child_that_kills_its_own_group(bench: Bench) -> None:
    ending = run(bench, "kill_own_group")
    assert (ending.outcome, "SIGKILL" in ending.error) == ("FAILED", True)
    assert not living(bench, daemons(bench, 1))


def test_a_child_that_kills_its_guard_ends_with_it(bench: Bench) -> None:
    ending = run(bench, "kill_the_guard")
    assert (ending.outcome, "SIGKILL" in ending.error) == ("FAILED", True)


def test_the_supervisor_is_killed_and_nothing_is_left(bench: Bench) -> None:
    """Its end is the end of the pipe to the guard."""
    child = bench.ready(order := bench.order("misbehaving:leave_daemons_and_wait"))
    child.send(order)
    wait_until((bench.root / "started-42").exists, SECONDS)
    left = daemons(bench)
    orders, child._orders = child._orders, os.dup(2)
    os.close(orders)
    wait_until(lambda: not living(bench, left), SECONDS, "the end of the daemons")


# --- signals ------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["stop_itself", "ignore_every_signal"])
def test_the_time_limit_holds_for_the_deaf(bench: Bench, function: str) -> None:
    ending = run(bench, function, timeout=1.0, grace=0.2)
    assert ending.outcome == "TIMEOUT"


def test_a_stop_ends_the_deaf(bench: Bench) -> None:
    order = bench.order("misbehaving:ignore_every_signal")
    attempt = Attempt(bench.ready(order), order, None, 0.2, bench.inbox)
    threading.Timer(0.7, bench.inbox.put, [Stop()]).start()
    assert ending_of(attempt).outcome == "STOPPED"
    bench.close()


# --- pipes and folders --------------------------------------------------------------------


@pytest.mark.parametrize("megabytes", [0, 40])
def test_garbage_on_the_pipe_is_passed_over(bench: Bench, megabytes: int) -> None:
    ending = run(bench, "garbage_on_every_pipe", megabytes=megabytes, timeout=SECONDS)
    assert (ending.outcome, ending.metrics) == ("COMPLETED", {"written": True})


def test_folders_removed_under_it(bench: Bench) -> None:
    assert run(bench, "remove_folders").metrics == {"removed": True}
    assert run(bench, "print_much", megabytes=1).outcome == "COMPLETED"


def test_an_ending_goes_where_there_is_room(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "attempts").write_text("in the way")
    child = bench.ready(order := bench.order("add"))
    ending = ending_of(Attempt(child, order, None, 1.0, bench.inbox))
    assert ending.outcome == "COMPLETED"
    assert list((bench.root / "state").glob("*/outcome.json"))


# --- memory -------------------------------------------------------------------------------


def test_memory_that_python_is_refused(bench: Bench) -> None:
    ending = run(bench, "eat_memory", limit=1 << 29)
    assert (ending.outcome, "MemoryError" in ending.error) == ("OOM", True)


def test_the_kernel_would_choose_the_child(bench: Bench) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert run(bench, "score").metrics["score"] == min(1000, own + 100)


# --- what it returns ----------------------------------------------------------------------


def test_strange_metrics_are_kept(bench: Bench) -> None:
    metrics = run(bench, "strange_metrics").metrics
    assert metrics["hostile"] == "<Hostile>"
    assert metrics["int"] == hex(10**5000)
    assert metrics["float"] == float("inf")
    assert len(metrics) == 15


RETURNS = [
    ("hostile", "expected a dict"), ("dict", "a HostileDict, cannot be read: no items"),
    ("number", "expected a dict"), ("text", "expected a dict"), ("class", "expected a dict"),
    ("list", "expected a dict"), ("quit", "sys.exit(4)"),
    pytest.param("endless", "more than 1,000,000 items", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said"), RETURNS)
def test_strange_returns(bench: Bench, kind: str, said: str) -> None:
    ending = run(bench, "strange_returns", kind=kind, timeout=60.0)
    assert (ending.outcome, ending.metrics) == ("FAILED", {})
    assert said in ending.error
    assert len(ending.error) < 1000


ERRORS = [
    ("hostile", "HostileError"), ("exit", "sys.exit(<Hostile>)"), ("group", "many"),
    ("long", "characters left out"), ("interrupt", "KeyboardInterrupt"),
    ("generator", "GeneratorExit"), ("surrogate", "ValueError"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said"), ERRORS)
def test_strange_errors(bench: Bench, kind: str, said: str) -> None:
    ending = run(bench, "strange_errors", kind=kind)
    assert ending.outcome == "FAILED"
    assert said in ending.error


@pytest.mark.parametrize(("count", "size"), [(100_000, 1), (100_000, 200), (3, 10 << 20)])
def test_metrics_of_any_number_and_size(bench: Bench, count: int, size: int) -> None:
    ending = run(bench, "many_metrics", count=count, size=size, timeout=SECONDS)
    assert ending.outcome == "COMPLETED", ending.error
    if count * size < 1 << 20:
        assert len(ending.metrics) == count


def test_a_crash_at_the_end_costs_nothing(bench: Bench) -> None:
    assert run(bench, "crash_at_the_end").metrics == {"acc": 0.5}
