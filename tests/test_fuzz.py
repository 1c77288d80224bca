"""What must hold for any bytes and any sweep file: asked of what once broke it, and of more.

The promises are in `fuzz/properties.py`; `make fuzz` searches for hours, guided by coverage.
Here: every input that ever found something (`data/fuzz/found/`), the seeds of the search, a
fixed stretch of their mutations, and what hypothesis makes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import mutate, properties
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlqueue import protocol

DATA = Path(__file__).parent / "data" / "fuzz"
Check = Callable[[bytes], list[str]]
CHECKS: dict[str, Check] = {"decoder": properties.decoder, "sweep": properties.sweep}
MUTATIONS = {"decoder": 3000, "sweep": 300}
QUICK = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def inputs(folder: Path) -> list[tuple[str, Path]]:
    """(which check, file) for every file below `decoder/` and `sweep/`."""
    return [(what, path) for what in CHECKS for path in sorted((folder / what).iterdir())]


@pytest.mark.parametrize(
    ("what", "path"), inputs(DATA / "found"), ids=lambda each: getattr(each, "name", each)
)
def test_what_once_broke_a_promise_does_not_any_more(what: str, path: Path) -> None:
    assert CHECKS[what](path.read_bytes())


def test_the_seeds_get_past_every_check() -> None:
    for what, path in inputs(DATA):
        if what == "sweep":
            assert properties.sweep(path.read_bytes()) == ["sweep"], path
        else:
            lines = [each for each in path.read_bytes().splitlines() if each.strip()]
            assert lines and all(map(understood, lines)), path


def understood(line: bytes) -> bool:
    ways = (protocol.decode_request, protocol.decode_reply)
    return any(not properties.one_way(line, way).startswith("refused") for way in ways)


@pytest.mark.parametrize("what", CHECKS)
def test_mutations_of_the_seeds(what: str) -> None:
    chance, kinds = random.Random(7), set()
    seeds = [path.read_bytes() for each, path in inputs(DATA) if each == what]
    change = {"decoder": mutate.as_json, "sweep": mutate.as_yaml}[what]
    for _ in range(MUTATIONS[what]):
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 2, 5))):
            data = change(data, chance) or data
        kinds.update(CHECKS[what](data))
    assert len(kinds) > 40, "the mutations no longer get past the first check"


@QUICK
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    properties.decoder(data)
    properties.sweep(data)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.sampled_from(mutate.WORDS),
    ),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(mutate.WORDS) | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@QUICK
@given(st.lists(JSON, min_size=1, max_size=3), st.sampled_from([b"\n", b"", b"\r\n", b" "]))
def test_any_json(trees: list[object], end: bytes) -> None:
    texts = [properties.json.dumps(each).encode() for each in trees]
    properties.decoder(end.join(texts))


LINES = st.tuples(st.sampled_from([0, 2, 4, 6]), st.sampled_from([*mutate.PIECES, *mutate.VALUES]))


@QUICK
@given(st.lists(LINES, max_size=8))
def test_any_lines_of_a_sweep(lines: list[tuple[int, str]]) -> None:
    text = "".join(" " * indent + piece + "\n" for indent, piece in lines)
    properties.sweep(text.encode(errors="surrogatepass"))
