"""Which rows of long tables `make test` takes: one of so many; `make test-all` takes all.

Rows of one kind differ in the value and not in the code that they reach; each ran when it was
written.  Whole tests that are left to the long run are marked where they stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

ONE_OF = {
    "test_bad_inputs.py::test_a_bad_command_line": 4,
    "test_bad_inputs.py::test_a_bad_sweep_file": 2,
    "test_child_misbehaving.py::test_metrics_of_any_number_and_size": 4,
    "test_child_misbehaving.py::test_strange_errors": 3,
    "test_child_misbehaving.py::test_strange_returns": 3,
    "test_cli_run.py::test_a_part_that_ends_early_comes_back": 2,
    "test_cli_wrong.py::test_a_wrong_command_line_says_where_and_what_now": 2,
    "test_completion.py::test_what_bash_is_answered": 3,
    "test_crash.py::test_a_death_at_every_call": 3,
    "test_crash.py::test_an_error_at_every_call": 3,
    "test_crash_alive.py::test_neighbours_go_on": 3,
    "test_crash_mutations.py::test_without_this_guard_the_proof_fails": 2,
    "test_crash_power.py::test_power_is_lost_beside_the_csvs": 2,
    "test_database_refused.py::test_every_command_refuses_it_and_touches_nothing": 3,
    "test_doctor.py::test_an_illness_is_found_and_cured_by_what_is_said": 3,
    "test_doctor.py::test_what_is_wrong_with_a_running_manager": 3,
    "test_doctor_machine.py::test_what_is_wrong_here_is_told_and_cured": 3,
    "test_import.py::test_what_cannot_be_meant_changes_nothing": 3,
    "test_poisoning_training.py::test_a_damaged_checkpoint_is_not_used": 3,
    "test_power_cuts.py::test_what_is_read_back_after_a_failed_sync_is_durable": 2,
    "test_recover.py::test_it_is_made_again_from_sweep_files_and_csvs": 3,
    "test_schema.py::test_it_is_refused_and_left_as_it_was": 3,
    "test_security_network.py::test_no_name_from_the_wire_becomes_a_path": 3,
    "test_standard_streams.py::test_bars_are_drawn_in_what_the_terminal_can_show": 2,
}


def thin(items: Iterable[pytest.Item]) -> None:
    """Marks the others as slow."""
    met: Counter[str] = Counter()
    for item in items:
        name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
        if name in ONE_OF:
            if met[name] % ONE_OF[name]:
                item.add_marker(pytest.mark.slow)
            met[name] += 1
