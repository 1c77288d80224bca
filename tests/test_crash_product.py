"""The whole product: every death and every error of every scenario, and every death of the
recovery after a death.

Two that leave the same on disk are recovered from once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command_scenarios import BESIDE
from crash_proof import Workshop, deaths, errors, workshop
from crash_scenarios import ALL, Scenario
from faults import ERRORS
from tally import count

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.mark.parametrize("scenario", (*ALL, *BESIDE), ids=str)
def test_a_death_at_every_call(shop: Workshop, scenario: Scenario) -> None:
    for at, mode in deaths(shop.calls(scenario)):
        shop.dies(scenario, at, mode)


@pytest.mark.parametrize("scenario", (*ALL, *BESIDE), ids=str)
def test_a_death_at_every_call_of_the_recovery(shop: Workshop, scenario: Scenario) -> None:
    pairs = shop.dies_in_recovery(scenario)
    assert pairs > 0
    count("deaths in a recovery", pairs)


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("scenario", (*ALL, *BESIDE), ids=str)
def test_an_error_at_every_call(shop: Workshop, scenario: Scenario, stays: bool) -> None:
    for mode in ERRORS:
        for at in errors(shop.calls(scenario)):
            shop.fails(scenario, at, mode, stays)
