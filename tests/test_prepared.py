"""Statements that go to the driver as text: what comes back is what a plain one tells."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from sqlqueue.store import engine, pace
from sqlqueue.store.planned import paces, shapes
from sqlqueue.store.prepared import Gathered, Prepared, among, listed

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
COLUMNS = (shapes.c.id, shapes.c.key, shapes.c.experiment)


@pytest.fixture(scope="module")
def memory() -> Iterator[Engine]:
    found = engine.open_memory()
    yield found
    found.dispose()


def _put(connection: Connection, rows: list[tuple[str, str, float]]) -> None:
    values: list[dict[str, Any]] = [
        {
            "id": number,
            "key": f"{number}{key}",
            "experiment": name,
            "cost": cost,
            "parameters": "{}",
        }
        for number, (key, name, cost) in enumerate(rows)
    ]
    if values:
        connection.execute(shapes.insert(), values)


@given(st.lists(st.tuples(TEXTS, TEXTS, st.floats(0, 10)), max_size=9))
def test_rows_that_come_as_one_are_the_rows(
    memory: Engine, rows: list[tuple[str, str, float]]
) -> None:
    query = select(*COLUMNS).where(shapes.c.cost < 9.0)
    with memory.connect() as connection, connection.begin() as transaction:
        _put(connection, rows)
        found = Gathered(query).all(connection)
        assert sorted(found) == sorted(map(list, connection.execute(query)))
        transaction.rollback()


@pytest.mark.parametrize("cost", [0.1, 1e-300, 123456.789, inf])
def test_a_shape_is_read_as_it_was_written_even_of_infinite_cost(
    memory: Engine, cost: float
) -> None:
    with memory.connect() as connection, connection.begin() as transaction:
        _put(connection, [("", "m:f", cost)])
        seconds = {"shape_id": 0, "kind": "cpu", "runs": 2, "seconds": "[1.5, Infinity]"}
        connection.execute(paces.insert(), seconds)
        found = pace.known_shapes(connection)
        assert [(key, each.cost, each.experiment) for key, each in found.items()] == [
            (0, cost, "m:f")
        ]
        assert pace.known_paces(connection, found).seconds(found[0], "cpu") == inf
        transaction.rollback()


@given(st.lists(TEXTS, max_size=9), st.text(max_size=9))
def test_what_is_looked_among_is_found_whatever_it_is_spelled_like(
    memory: Engine, keys: list[str], other: str
) -> None:
    looked = Prepared(select(shapes.c.id).where(among(shapes.c.key, "keys")))
    with memory.connect() as connection, connection.begin() as transaction:
        _put(connection, [(each, "m:f", 1.0) for each in keys])
        wanted = [f"{number}{each}" for number, each in enumerate(keys)]
        found = looked.all(connection, keys=listed([*wanted, f"-{other}"]))
        assert sorted(key for (key,) in found) == list(range(len(keys)))
        transaction.rollback()
