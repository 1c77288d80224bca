"""Places before the hello: bounded, shared out among hosts, given back; and who pays for memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.logs import MOST_STRANGERS, Seldom
from sqlqueue.manager.limits import DEFAULT
from sqlqueue.manager.scales import Scales
from sqlqueue.manager.strangers import Stranger, Strangers, host_of

LIMITS = replace(DEFAULT, strangers=6, strangers_of_one_host=4, stranger_seconds=1.0)


class Room:
    """Places, a clock, and who was sent away."""

    def __init__(self) -> None:
        self.places = Strangers(LIMITS)
        self.now = 0.0
        self.sent_away: list[str] = []

    def enter(self, host: str, name: str = "") -> Stranger | None:
        return self.places.enter(host, lambda: self.sent_away.append(name or host), self.now)


@pytest.fixture
def room() -> Room:
    return Room()


def test_one_host_has_its_share_and_no_more(room: Room) -> None:
    assert all(room.enter("10.0.0.1") for _ in range(4))
    assert room.enter("10.0.0.1") is None
    assert len(room.places) == 4
    assert room.sent_away == []


def test_a_stranger_has_a_second_for_itself_then_the_next_of_its_host_may_have_its_place(
    room: Room,
) -> None:
    for number in range(4):
        room.enter("10.0.0.1", f"first-{number}")
        room.now += 0.1
    room.now = 0.99
    assert room.enter("10.0.0.1") is None
    room.now = 1.0
    assert room.enter("10.0.0.1")
    assert room.sent_away == ["first-0"], "the longest silent one"


def test_another_host_takes_a_place_at_once_from_whoever_holds_most(room: Room) -> None:
    for _ in range(4):
        room.enter("10.0.0.1", "greedy")
    for _ in range(2):
        room.enter("10.0.0.2", "modest")
    assert room.enter("10.0.0.3")
    assert room.sent_away == ["greedy"]


def test_hosts_that_hold_the_same_do_not_take_from_each_other(room: Room) -> None:
    for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        room.enter(host)
        room.enter(host)
    assert room.enter("10.0.0.1") is None
    assert room.sent_away == []


def test_where_everybody_holds_one_a_newcomer_gets_the_oldest_after_its_second(room: Room) -> None:
    """Else as many addresses as there are places would keep everybody else out."""
    for number in range(6):
        room.enter(f"10.0.1.{number}")
        room.now += 0.1
    assert room.enter("10.0.0.1") is None
    room.now = 1.0
    assert room.enter("10.0.0.1")
    assert room.sent_away == ["10.0.1.0"]
    assert room.enter("10.0.0.2") is None


def test_who_says_hello_frees_its_place(room: Room) -> None:
    taken = [room.enter("10.0.0.1") for _ in range(4)]
    assert taken[0]
    room.places.known(taken[0])
    assert room.enter("10.0.0.1")
    assert room.enter("10.0.0.1") is None


def test_who_goes_without_leaves_it_empty_for_the_rest_of_the_second(room: Room) -> None:
    """Else handshakes would cost the manager as much as a peer likes."""
    for _ in range(4):
        taken = room.enter("10.0.0.1")
        assert taken
        room.places.gone(taken)
    assert len(room.places) == 0
    assert room.enter("10.0.0.1") is None
    room.now = 1.0
    assert room.enter("10.0.0.1")
    assert room.sent_away == [], "an empty place is nobody's"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8:1:1::5", "2001:db8:1:1:ffff::9", True),
        ("2001:db8:1:1::5", "2001:db8:1:2::5", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_one_host_of_ipv6_is_a_network_of_64_bits(one: str, other: str, same: bool) -> None:
    assert (host_of(one) == host_of(other)) is same


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "known", "gone", "wait"]), st.integers(1, 9), st.integers(0, 20)
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS)
def test_the_bounds_hold_whatever_comes(steps: list[tuple[str, int, int]]) -> None:
    places, now, inside = Strangers(LIMITS), 0.0, cast(list[Stranger], [])
    for what, host, which in steps:
        if what == "wait":
            now += which / 10
        elif what == "enter":
            left: list[int] = []
            if taken := places.enter(f"10.0.0.{host}", lambda left=left: left.append(1), now):
                inside.append(taken)
            assert len(left) == 0
        elif inside:
            getattr(places, what)(inside[which % len(inside)])
        held: dict[str, int] = {}
        for each in places._places:
            held[each.host] = held.get(each.host, 0) + 1
        assert sum(held.values()) <= LIMITS.strangers
        assert all(count <= LIMITS.strangers_of_one_host for count in held.values())


# --- memory of all connections ---------------------------------------------------------------


class Holding:
    """As much of a connection as the scales look at."""

    def __init__(self, role: str | None, held_bytes: int) -> None:
        self.role, self.held_bytes, self.peer = role, held_bytes, "10.0.0.1:5"
        self.is_open = True

    def abort(self) -> None:
        self.is_open, self.held_bytes = False, 0


def weighed(*holding: Holding) -> None:
    scales = Scales(100)
    for each in holding:
        scales.weigh(cast(Any, each))


def test_the_worker_that_holds_most_pays() -> None:
    small, large, last = Holding("worker", 30), Holding("worker", 60), Holding("worker", 20)
    weighed(small, large, last)
    assert [each.is_open for each in (small, large, last)] == [True, False, True]


def test_the_owner_is_never_dropped() -> None:
    owner, worker = Holding("owner", 200), Holding("worker", 5)
    weighed(owner, worker)
    assert owner.is_open
    weighed(owner)
    assert owner.is_open


def test_what_is_below_the_bound_drops_nobody() -> None:
    all_of_them = [Holding("worker", 10) for _ in range(10)]
    weighed(*all_of_them)
    assert all(each.is_open for each in all_of_them)


def test_who_reads_its_answers_weighs_nothing_any_more() -> None:
    one, other, scales = Holding("worker", 90), Holding("worker", 90), Scales(100)
    scales.weigh(cast(Any, one))
    one.held_bytes = 0
    scales.weigh(cast(Any, one))
    scales.weigh(cast(Any, other))
    assert one.is_open
    assert other.is_open


# --- lines about strangers -------------------------------------------------------------------


def line(host: str | None, text: str = "%s said nothing") -> logging.LogRecord:
    record = logging.LogRecord("sqlqueue", logging.WARNING, "", 0, text, (host,), None)
    if host is not None:
        record.stranger = host
    return record


def test_a_stranger_is_spoken_of_once_a_minute_and_counted() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    assert [seldom.filter(line("10.0.0.1")) for _ in range(5)] == [True] + [False] * 4
    assert seldom.filter(line("10.0.0.1", "%s said something else"))
    assert seldom.filter(line("10.0.0.2"))
    assert all(seldom.filter(line(None)) for _ in range(5)), "all other lines are told"
    now[0] = 60.0
    again = line("10.0.0.1")
    assert seldom.filter(again)
    assert again.getMessage() == "10.0.0.1 said nothing (and 4 like it before)"


def test_a_thousand_strangers_get_as_many_lines_as_are_remembered() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    told = sum(seldom.filter(line(f"10.0.{n // 256}.{n % 256}")) for n in range(5000))
    assert told == MOST_STRANGERS + 1
    now[0] = 61.0
    assert seldom.filter(line("10.1.0.1"))
