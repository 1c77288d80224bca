"""A process dies at every single disk call and commit: nothing promised is lost or doubled.

The main scenarios; the whole product is `test_crash_product.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_proof import AT_THE_END, Workshop, deaths, errors, fingerprint, workshop
from crash_scenarios import ALL, MAIN, ONCE_MORE, Scenario
from faults import ERRORS

from support import later

SCENARIOS = {each.name: each for each in ALL}


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.mark.parametrize("scenario", (*MAIN[1:3], ONCE_MORE[0]), ids=str)
def test_a_death_at_every_call(shop: Workshop, scenario: Scenario) -> None:
    for at, mode in deaths(shop.calls(scenario)):
        shop.dies(scenario, at, mode)


@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("scenario", MAIN[1:3], ids=str)
def test_an_error_at_every_call(shop: Workshop, scenario: Scenario, mode: str) -> None:
    for at in errors(shop.calls(scenario)):
        shop.fails(scenario, at, mode)


def test_a_death_in_the_recovery(shop: Workshop) -> None:
    assert shop.dies_in_recovery(MAIN[2]) > 50


@pytest.mark.parametrize("name", ["a batch", *later("a CSV replaced")])
def test_a_film_shows_what_a_death_leaves(shop: Workshop, name: str) -> None:
    """Every copy that the proofs take of a disk is what a real SIGKILL at that call leaves."""
    scenario = SCENARIOS[name]
    stills, _ = shop.film(scenario)
    copies = {(each.at, each.mode): each for each in stills}
    moments = deaths(shop.calls(scenario))
    assert list(copies) == moments
    for at, mode in moments:
        room, _, ended = shop.died(scenario, at, mode)
        copy = copies[at, mode]
        assert fingerprint(room) == fingerprint(copy.room), f"{mode} {at}"
        assert ended.told == list(copy.told)
        assert ended.killed == (mode != AT_THE_END)
