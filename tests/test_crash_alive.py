"""An error at every call of a manager that lives on: neighbours are acked, the rest arrives later.

The error stays until the disk is well again; nobody restarts anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from crash_proof import Workshop, agrees, workshop
from crash_scenarios import LINKS, MAIN, Desk, Room, opened, result
from faults import ERRORS, FaultyDisk, Plan, faulty_commits, faulty_statements

from sqlqueue.protocol import Ack, Error, Reply

BATCH = MAIN[2]
LATER = pytest.mark.slow
CELLS = (2, 3, 4)
"""For `a` alone, for `b` alone, for both."""
METRICS = pytest.mark.parametrize(
    "metrics",
    [pytest.param({}, id="rows"), pytest.param({"new": 0.5}, id="a new metric", marks=LATER)],
)


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


def submit_all(desk: Desk, **metrics: float) -> list[Reply]:
    return desk.say(*(result(cell, **metrics) for cell in CELLS))


def acked(replies: list[Reply]) -> list[int]:
    """The cells that were acked; every other got an error that says to ask again."""
    for reply in replies:
        assert isinstance(reply, Ack) or (isinstance(reply, Error) and reply.retryable), reply
    return [cell for cell, reply in zip(CELLS, replies, strict=True) if isinstance(reply, Ack)]


Faults = Callable[[Plan], AbstractContextManager[None]]


def suffers(room: Room, plan: Plan, faults: Faults = faulty_commits, **metrics: float) -> bool:
    """One life of a manager with a fault in it; False when the call never came."""
    told: list[str] = []
    with faults(plan), opened(room.home, FaultyDisk(plan), told.append) as desk:
        plan.begun = True
        early = acked(submit_all(desk, **metrics))
        if plan.came and plan.where:
            unharmed = [cell for cell in CELLS if plan.where not in LINKS[cell]]
            assert set(unharmed) <= set(early), f"{plan.where} failed, but {early} were acked"
        came = plan.came
        plan.heal()
        for _ in range(3):
            desk.later()
        assert acked(submit_all(desk, **metrics)) == list(CELLS)
    agrees(room, {(cell, folder) for cell in CELLS for folder in LINKS[cell]}, [])
    assert not list(room.home.salvage.iterdir()), "our own bytes were taken for a person's"
    return came


@METRICS
@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("mode", ERRORS)
def test_neighbours_go_on(
    shop: Workshop, mode: str, stays: bool, metrics: dict[str, float]
) -> None:
    number = 1
    while suffers(shop.room(BATCH)[0], Plan(number, mode, stays, begun=False), **metrics):
        number += 1
    assert number >= 8


@METRICS
@pytest.mark.parametrize(
    "stays", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "from then on"]
)
def test_a_statement_that_fails_refuses_the_batch_and_no_more(
    shop: Workshop, stays: bool, metrics: dict[str, float]
) -> None:
    number = 1
    while True:
        plan = Plan(number, "ENOSPC", stays, begun=False)
        if not suffers(shop.room(BATCH)[0], plan, faulty_statements, **metrics):
            break
        number += 1
    assert number > 20
