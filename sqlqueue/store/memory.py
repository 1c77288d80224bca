"""What the home remembers of experiments: their parameters, and what those run that are commands.

The parameters that were known, with which defaults, decide what a signature counts, so that code
can grow without older cells changing.  Of a command what it runs now is remembered, and nothing
else decides what a worker is given.  Every function takes a connection inside a transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import lru_cache

import msgspec
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.plan.command import Command
from sqlqueue.protocol import ExperimentMemory, ParameterMemory
from sqlqueue.store.prepared import Prepared
from sqlqueue.store.schema import experiment_parameters, experiments

_COMMAND = Prepared(select(experiments.c.command).where(experiments.c.name == bindparam("name")))


def remember(connection: Connection, known: Iterable[ExperimentMemory], now: float) -> None:
    """Remembers experiments, what they run, and what is known of their parameters."""
    for each in known:
        command = None if each.command is None else _written(each.command)
        added = insert(experiments).values(name=each.name, first_seen=now, command=command)
        latest = {"command": command}
        connection.execute(
            added.on_conflict_do_update(
                index_elements=["name"],
                set_=latest,
                where=experiments.c.command.is_distinct_from(command),
            )
        )
        there = {each.name: each for each in _parameters(connection, [each.name])[each.name]}
        for parameter in each.parameters:
            if _differs(parameter, there.get(parameter.name)):
                _remember_parameter(connection, each.name, parameter)


def _differs(parameter: ParameterMemory, there: ParameterMemory | None) -> bool:
    """Whether remembering it would change anything: `init` says the same with every batch."""
    return there is None or there.last_default != parameter.last_default


def _remember_parameter(
    connection: Connection, experiment: str, parameter: ParameterMemory
) -> None:
    statement = insert(experiment_parameters).values(
        experiment=experiment,
        name=parameter.name,
        original=parameter.original,
        first_default=parameter.first_default,
        last_default=parameter.last_default,
    )
    latest = {"last_default": parameter.last_default}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["experiment", "name"], set_=latest)
    )


def recall(connection: Connection, names: Collection[str]) -> list[ExperimentMemory]:
    """What is remembered of those experiments that were seen before; with no names, of all."""
    known = select(experiments.c.name, experiments.c.command)
    if names:
        known = known.where(experiments.c.name.in_(names))
    commands = {row.name: row.command for row in connection.execute(known)}
    parameters = _parameters(connection, names)
    return [
        ExperimentMemory(name=name, parameters=parameters[name], command=_read(command))
        for name, command in commands.items()
    ]


def _parameters(connection: Connection, names: Collection[str]) -> dict[str, list[ParameterMemory]]:
    """What is remembered of the parameters of those experiments, or of all."""
    query = select(experiment_parameters)
    if names:
        query = query.where(experiment_parameters.c.experiment.in_(names))
    memory: dict[str, list[ParameterMemory]] = defaultdict(list)
    for row in connection.execute(query):
        memory[row.experiment].append(
            ParameterMemory(
                name=row.name,
                original=row.original,
                first_default=row.first_default,
                last_default=row.last_default,
            )
        )
    return memory


def command_of(connection: Connection, experiment: str) -> Command | None:
    """What an experiment runs; None when it is no command."""
    found = _COMMAND.all(connection, name=experiment)
    return _read(found[0][0]) if found else None


def _written(command: Command) -> str:
    return json.dumps(msgspec.to_builtins(command), sort_keys=True)


@lru_cache(maxsize=256)
def _read(text: str | None) -> Command | None:
    return None if text is None else msgspec.convert(json.loads(text), Command)
