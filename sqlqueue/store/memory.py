"""What the home remembers of experiments: which parameters were known, with which defaults.

It decides what a signature counts, so that code can grow without older cells changing.
Every function takes a connection inside a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.protocol import ExperimentMemory, ParameterMemory
from sqlqueue.store.schema import experiment_parameters, experiments


def remember(connection: Connection, known: Iterable[ExperimentMemory], now: float) -> None:
    """Remembers experiments and what is known of their parameters."""
    for each in known:
        added = insert(experiments).values(name=each.name, first_seen=now)
        connection.execute(added.on_conflict_do_nothing())
        for parameter in each.parameters:
            values = {
                "original": parameter.original,
                "first_default": parameter.first_default,
                "last_default": parameter.last_default,
            }
            statement = insert(experiment_parameters).values(
                experiment=each.name, name=parameter.name, **values
            )
            latest = {"last_default": parameter.last_default}
            connection.execute(
                statement.on_conflict_do_update(index_elements=["experiment", "name"], set_=latest)
            )


def recall(connection: Connection, names: Iterable[str]) -> list[ExperimentMemory]:
    """What is remembered of those experiments that were seen before."""
    wanted = list(names)
    known = select(experiments.c.name).where(experiments.c.name.in_(wanted))
    memory: dict[str, list[ParameterMemory]] = {
        name: [] for name in connection.execute(known).scalars()
    }
    query = select(experiment_parameters).where(experiment_parameters.c.experiment.in_(wanted))
    for row in connection.execute(query):
        memory[row.experiment].append(
            ParameterMemory(
                name=row.name,
                original=row.original,
                first_default=row.first_default,
                last_default=row.last_default,
            )
        )
    return [ExperimentMemory(name=name, parameters=each) for name, each in memory.items()]
