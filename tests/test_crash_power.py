"""The power is lost at every single disk call and commit: what was acked is on stable storage.

Looked at before anything is recovered, too; whatever part of what was not synced the
filesystem may have written by itself (`power.POLICIES`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command_scenarios import BESIDE, PLACED, SERVING
from crash_proof import Workshop, workshop
from crash_scenarios import ALL, MAIN, Scenario
from power import POLICIES

SOON = (BESIDE[1], PLACED[1], PLACED[4])
"""A token, a backup and a take-over; the others in the long run."""
WORST = ("nothing unsynced", "removed, but nothing new", "a write cut in the middle")


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.mark.parametrize("scenario", MAIN[2:3], ids=str)
def test_power_is_lost(shop: Workshop, scenario: Scenario) -> None:
    assert shop.loses_power(scenario) > 300


def test_a_new_csv_is_gone_again(shop: Workshop) -> None:
    """Of which the database knew how it looks: its directory must not wait for it for ever."""
    replaced = shop.calls(MAIN[0]).index(("replace", "a")) + 1
    assert shop.loses_power_in_recovery(MAIN[0], ["nothing unsynced"], replaced) > 50


@pytest.mark.parametrize("scenario", SOON, ids=str)
def test_power_is_lost_beside_the_csvs(shop: Workshop, scenario: Scenario) -> None:
    assert shop.loses_power(scenario, WORST) > 30


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", (*ALL, *BESIDE, *PLACED, SERVING), ids=str)
def test_power_is_lost_in_every_scenario(shop: Workshop, scenario: Scenario) -> None:
    assert shop.loses_power(scenario) > 0


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", (*ALL, *BESIDE), ids=str)
def test_power_is_lost_in_the_recovery_after_a_death(shop: Workshop, scenario: Scenario) -> None:
    policies = POLICIES if scenario.restart is None else WORST[:1]  # many more moments
    assert shop.loses_power_in_recovery(scenario, policies) > 0
