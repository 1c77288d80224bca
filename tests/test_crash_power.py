"""The power is lost at every single disk call and commit: what was acked is on stable storage.

Looked at before anything is recovered, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_proof import Workshop, deaths, workshop
from crash_scenarios import ALL, MAIN, Scenario
from power import POLICIES


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


def proves(shop: Workshop, scenario: Scenario, policy: str) -> None:
    for at, mode in deaths(shop.calls(scenario)):
        shop.loses_power(scenario, at, mode, policy)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", MAIN[1:3], ids=str)
def test_power_is_lost(shop: Workshop, scenario: Scenario, policy: str) -> None:
    proves(shop, scenario, policy)


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", ALL, ids=str)
def test_power_is_lost_in_every_scenario(shop: Workshop, scenario: Scenario, policy: str) -> None:
    proves(shop, scenario, policy)
