"""Sweep files -> a checked sweep -> a generator of tasks.

Promises: one `SweepError` with every problem of every file, or a `Sweep` in which nothing
is wrong; a million cells never sit in memory; counts and directories cost no expansion.
Pure: texts in, values out; `lookup` is the only thing that knows experiments.

The way of a file: `yaml_text` (lines, no surprises) -> `blocks` (shape) -> `extends` (with
what its bases give) -> `bind` (meaning, against the experiment's declaration) -> `grid`
(cells).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlqueue.errors import ExperimentError
from sqlqueue.plan import blocks, defining
from sqlqueue.plan.bind import bind, steering
from sqlqueue.plan.blocks import Block, File, Given
from sqlqueue.plan.declared import unknown
from sqlqueue.plan.extends import Source, extended
from sqlqueue.plan.grid import Grid
from sqlqueue.plan.nested import head
from sqlqueue.plan.problems import Place, Problems, describe
from sqlqueue.plan.task import BUILT_IN, OWN_COLUMNS, STEERING, Experiment, Task
from sqlqueue.plan.tree import Entries

DEFAULT_EXPERIMENT: Final = "poisoning"

Lookup = Callable[[str | Experiment], Experiment]
"""Name -> declaration, or what a file defines -> as it is to be read; raises `ExperimentError`."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the sweep.  `count`: its cells, those that files repeat counted again."""

    name: str
    experiment: str
    count: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a set of sweep files asks for.  `files`: the phases that stand in each."""

    phases: tuple[Phase, ...]
    experiments: dict[str, Experiment]
    grids: tuple[Grid, ...]
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(each.count for each in self.phases)

    def tasks(self) -> Iterator[Task]:
        """Every cell, phase by phase in the order of the files."""
        for grid in self.grids:
            yield from grid.tasks()

    def emptied(self) -> list[str]:
        """The phases of which `exclude` left nothing."""
        return [each.name for each in self.phases if not each.count]

    def output_dirs(self) -> list[str]:
        """Each directory once, as written, in the order of first appearance."""
        return list(dict.fromkeys(each for grid in self.grids for each in grid.output_dirs()))


def load(files: Sequence[tuple[str, str] | Source], lookup: Lookup) -> Sweep:
    """The sweep that (name, text) pairs ask for; raises `SweepError` with all problems."""
    return _Loader(lookup).load([Source(*each) for each in files])


class _Loader:
    """Collects grids and problems over all files; asks for each experiment once."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.problems = Problems()
        self.found: dict[str, Experiment | None] = {}
        self.errors: dict[str, str] = {}
        self.defined: dict[str, tuple[Experiment, Place]] = {}
        self.grids: dict[str, list[Grid]] = {}
        self.first: dict[str, tuple[str, Place]] = {}
        self.read: dict[tuple[str, str], File | None] = {}
        self.takers: dict[Place, list[Experiment] | None] = {}
        self.files: dict[str, tuple[str, ...]] = {}

    def load(self, sources: Sequence[Source]) -> Sweep:
        bases = {each for source in sources for each in source.bases}
        for source in dict.fromkeys(sources):
            read = [self._read(each, True) for each in source.bases]
            file = self._read((source.name, source.text), (source.name, source.text) in bases)
            known = [each for each in read if each is not None]
            if file is not None and source.whole and len(known) == len(read):
                self._file(extended(file, known))
                self.files[source.name] = tuple(block.name for block in file.blocks)
        self._check_defaults()
        self.problems.finish()
        phases = tuple(self._phase(name) for name in self.grids)
        experiments = {name: each for name, each in self.found.items() if each is not None}
        grids = tuple(grid for each in self.grids.values() for grid in each)
        return Sweep(phases, experiments, grids, self.files)

    def _read(self, text: tuple[str, str], is_base: bool) -> File | None:
        """Each text once, however many files extend it."""
        if text not in self.read:
            order = len(self.read)
            self.read[text] = blocks.read(*text, order, self.problems, is_base)
        return self.read[text]

    def _phase(self, name: str) -> Phase:
        count = sum(grid.count() for grid in self.grids[name])
        return Phase(name, self.first[name][0], count)

    def _file(self, file: File) -> None:
        used = [self._block(block, file) for block in file.blocks]
        experiments = [each for each in used if each is not None]
        self._note_takers(file, experiments, file.whole and len(experiments) == len(used))

    def _block(self, block: Block, file: File) -> Experiment | None:
        given = steering(block, file).get("experiment")
        named = self._named(given)
        experiment = self._experiment(named, given, block) if named is not None else None
        if experiment is None:
            return None
        self._check_same(block, experiment.name)
        self.grids.setdefault(block.name, []).extend(bind(block, file, experiment, self.problems))
        return experiment

    def _check_same(self, block: Block, name: str) -> None:
        first, place = self.first.setdefault(block.name, (name, block.place))
        if first != name:
            problem = (
                f"runs experiment {name!r}, but {first!r} in {place.file}:{place.line}; "
                "a phase has one experiment: give one of the two another name"
            )
            self.problems.add(block.place, problem)

    # --- experiments ------------------------------------------------------------------

    def _named(self, given: Given | None) -> str | Experiment | None:
        """The experiment's name, or what the file defines; None, and a problem, for neither."""
        if given is None:
            return DEFAULT_EXPERIMENT
        if isinstance(given.tree, Entries):
            return self._defined(given)
        value = given.scalar(self.problems)
        if isinstance(value, str) and value.strip():
            return value.strip()
        expected = "expected a built-in's name, 'module:function', or a mapping with `command`"
        self.problems.add(given.place, f"found {describe(value)}, {expected}")
        return None

    def _defined(self, given: Given) -> Experiment | None:
        """What a mapping defines; the same everywhere in the files."""
        found = defining.read(given, BUILT_IN, self.problems)
        if found is None:
            return None
        first, place = self.defined.setdefault(found.name, (found, given.place))
        if first != found:
            problem = (
                f"defines experiment {found.name!r} otherwise than {place.file}:{place.line}; "
                "make both alike, or give one of the two another `name`"
            )
            self.problems.add(given.place, problem)
            return None
        return found

    def _experiment(
        self, named: str | Experiment, given: Given | None, block: Block
    ) -> Experiment | None:
        name = named if isinstance(named, str) else named.name
        if name not in self.found:
            try:
                self.found[name] = self.lookup(named)
            except ExperimentError as error:
                self.found[name] = None
                self.errors[name] = error.message
        experiment = self.found[name]
        if experiment is None:
            place = given.place if given else block.place
            self.problems.add(place, self.errors[name])
        elif taken := _taken(experiment):
            place = given.place if given else block.place
            problem = f"experiment {name!r} has a parameter {taken!r}, a name that sqlqueue needs"
            self.problems.add(place, f"{problem} itself; rename it there")
            return None
        return experiment

    # --- the file's own keys ------------------------------------------------------------

    def _note_takers(self, file: File, used: list[Experiment], complete: bool) -> None:
        """Remembers which experiments each shared value is for: bases are shared by files."""
        shared = {name: given for name, given in file.defaults.items() if name not in STEERING}
        for given in (*shared.values(), *([file.seeds] if file.seeds else [])):
            takers = self.takers.setdefault(given.place, [])
            self.takers[given.place] = takers + used if complete and takers is not None else None

    def _check_defaults(self) -> None:
        """A default that no phase of the files can take is a slip of the pen."""
        for place, used in self.takers.items():
            if not used or any(experiment.open_ended for experiment in used):
                continue
            known = {each.name for experiment in used for each in experiment.parameters}
            if head(str(place.key)) not in known:
                self.problems.add(place, unknown(used, str(place.key)))


def _taken(experiment: Experiment) -> str | None:
    """The first parameter whose name a sweep file or a CSV already uses otherwise."""
    taken = (*OWN_COLUMNS, *STEERING)
    return next((each.name for each in experiment.parameters if each.name in taken), None)
