"""A process dies at every single disk call and commit: nothing promised is lost or doubled.

The main scenarios; the whole product is `test_crash_product.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_proof import Workshop, deaths, workshop
from crash_scenarios import MAIN, Scenario
from faults import ERRORS


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.mark.parametrize("scenario", MAIN[:3], ids=str)
def test_a_death_at_every_call(shop: Workshop, scenario: Scenario) -> None:
    for at, mode in deaths(shop.calls(scenario)):
        shop.dies(scenario, at, mode)


@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("scenario", MAIN[:3], ids=str)
def test_an_error_at_every_call(shop: Workshop, scenario: Scenario, mode: str) -> None:
    for at in range(1, len(shop.calls(scenario)) + 1):
        shop.fails(scenario, at, mode)


def test_a_death_in_the_recovery_after_a_torn_append(shop: Workshop) -> None:
    scenario = MAIN[1]
    names = [name for name, _ in shop.calls(scenario)]
    assert shop.dies_again(scenario, names.index("append") + 1, "halfway") > 5
