"""`make fuzz`: a coverage-guided search for bytes that break a promise.

`python -m fuzz decoder|sweep --seconds N [--runs N] [--corpus FOLDER]` prints how many inputs
ran, what they covered and what broke; the exit status is 1 when something did, and the input
lies in the folder then.  What is not here: the promises (`properties.py`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sqlqueue", "fuzz.properties", "json"]):
    from fuzz import mutate, properties

SEEDS = Path(__file__).parent.parent / "data" / "fuzz"
MAX_BYTES = {"decoder": 1500, "sweep": 3000}
UNIT_SECONDS = 20
"""One input may take so long on a busy machine: a second and a half on an idle one."""
MEMORY_MB = 1024
SAY_SECONDS = 20
KINDS = 4000
AFRESH = 0.2
"""How often a mutation begins with a seed: what a search has made of it seldom parses."""


def main() -> None:
    options = parsed()
    check = getattr(properties, options.what)
    tally = Tally(options.what)

    def one(data: bytes) -> None:
        tally.add(check(data))

    folder = prepared(options.corpus, options.what)
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-max_len={MAX_BYTES[options.what]}",
        f"-timeout={UNIT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={folder}/broke-",
        "-print_final_stats=1",
        "-reload=0",
        "-report_slow_units=5",
        str(folder / "corpus"),
    ]
    atheris.Setup(arguments, one, custom_mutator=mutator(options.what))
    atheris.Fuzz()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("what", choices=("decoder", "sweep"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"))
    return parser.parse_args()


def prepared(corpus: Path, what: str) -> Path:
    """The folder of one search, with the seeds in it."""
    folder = corpus.resolve() / what
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for seed in (SEEDS / what).iterdir():
        shutil.copy(seed, folder / "corpus" / seed.name)
    return folder


def mutator(what: str) -> object:
    """Mostly a change of the tree, else one of the bytes."""

    seeds = [each.read_bytes() for each in (SEEDS / what).iterdir()]

    def mutate_one(data: bytes, max_bytes: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < AFRESH:
            data = chance.choice(seeds)
        if chance.random() < 0.75:
            tree = mutate.as_json if what == "decoder" else mutate.as_yaml
            if (found := tree(data, chance)) is not None and found != data:
                return found[:max_bytes]
        return bytes(atheris.Mutate(data, max_bytes))

    return mutate_one


class Tally:
    """What became of the inputs, said now and then: the fuzzer ends the process itself."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.inputs = 0
        self.words: Counter[str] = Counter()
        self.counters = [atheris._reserve_counter() for _ in range(KINDS)]
        self.known: dict[str, int] = {}
        self.begun = time.monotonic()
        self.next = self.begun + SAY_SECONDS

    def add(self, words: list[str]) -> None:
        """Counts, and tells the fuzzer of each kind of outcome as of a branch taken."""
        self.inputs += 1
        for word in words:
            self.words[word.split()[0]] += 1
            if len(self.known) < KINDS:
                self.known.setdefault(word, self.counters[len(self.known)])
            if (counter := self.known.get(word)) is not None:
                atheris._trace_branch(counter)
        if time.monotonic() > self.next:
            self.next = time.monotonic() + SAY_SECONDS
            self.say(time.monotonic() - self.begun)

    def say(self, seconds: float) -> None:
        found = ", ".join(f"{word} {count:,}" for word, count in self.words.most_common())
        print(
            f"{self.what}: {self.inputs:,} inputs, {self.words.total():,} outcomes "
            f"in {seconds:,.0f} s, "
            f"{len(self.known):,} kinds of outcome: {found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
