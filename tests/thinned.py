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
    "test_child.py::test_every_way_to_fail": 3,
    "test_cli_run.py::test_a_part_that_ends_early_comes_back": 2,
    "test_cli_wrong.py::test_a_wrong_command_line_says_where_and_what_now": 2,
    "test_command_program.py::test_told_to_stop_it_hears_it": 3,
    "test_completion.py::test_what_bash_is_answered": 3,
    "test_crash.py::test_a_death_at_every_call": 3,
    "test_crash.py::test_an_error_at_every_call": 3,
    "test_crash_alive.py::test_neighbours_go_on": 3,
    "test_crash_mutations.py::test_without_this_guard_the_proof_fails": 2,
    "test_crash_power.py::test_power_is_lost_beside_the_csvs": 2,
    "test_database_refused.py::test_every_command_refuses_it_and_touches_nothing": 3,
    "test_doctor.py::test_an_illness_is_found_and_cured_by_what_is_said": 3,
    "test_doctor.py::test_what_is_wrong_with_a_running_manager": 3,
    "test_doctor_filesystems.py::test_a_filesystem_that_is_unsafe": 2,
    "test_doctor_machine.py::test_what_is_wrong_here_is_told_and_cured": 3,
    "test_import.py::test_what_cannot_be_meant_changes_nothing": 3,
    "test_log_barren.py::test_nobody_is_locked_out": 2,
    "test_poisoning_together.py::test_a_stack_sends_what_each_client_sends_by_itself": 3,
    "test_poisoning_together.py::test_last_batches_are_each_clients_own": 2,
    "test_poisoning_training.py::test_a_damaged_checkpoint_is_not_used": 3,
    "test_recover.py::test_it_is_made_again_from_sweep_files_and_csvs": 3,
    "test_recover_rows.py::test_what_cannot_be_adopted_is_told_and_kept": 2,
    "test_recovery_hands.py::test_while_the_manager_runs": 3,
    "test_schema.py::test_it_is_refused_and_left_as_it_was": 3,
    "test_security_network.py::test_no_name_from_the_wire_becomes_a_path": 3,
    "test_security_sweeps.py::test_what_would_explode_is_refused_in_little_time_and_memory": 3,
    "test_standard_streams.py::test_bars_are_drawn_in_what_the_terminal_can_show": 2,
}

LEFT = {
    "test_acceptance_sharing.py::test_a_directory_that_was_removed_is_made_again",
    "test_breaker_live.py::test_a_worker_and_a_manager_until_done_wait_and_say_what_for",
    "test_child.py::test_metrics_too_large_for_a_message_go_to_a_file",
    "test_cli_page.py::test_each_says_one_json_document_and_nothing_else",
    "test_cli_run.py::test_no_part_outlives_a_run_that_is_killed",
    "test_cli_run.py::test_when_all_is_done_nothing_is_started",
    "test_commands.py::test_a_changed_command_is_what_later_attempts_run",
    "test_commands.py::test_recover_takes_the_command_from_the_sweep_files",
    "test_crash.py::test_a_death_in_the_recovery",
    "test_crash.py::test_a_film_shows_what_a_death_leaves",
    "test_doctor_filesystems.py::test_a_disk_that_fails",
    "test_once_more_live.py::test_the_example_of_the_page",
    "test_people_live.py::test_every_edit_of_a_csv_that_is_being_written",
    "test_poisoning_training.py::test_a_checkpoint_of_another_model_is_not_used",
    "test_poisoning_training.py::test_a_width_4_cnn_learns_digits",
    "test_poisoning_training.py::test_poisoning_last_is_not_poisoning_first",
    "test_power_cuts.py::test_what_is_read_back_after_a_failed_sync_is_durable",
    "test_recover_rows.py::test_in_a_copy_a_folder_of_the_original_s_stops_it",
    "test_resources_live.py::test_a_worker_that_never_reads_its_answers_costs_little",
    "test_resources_live.py::test_one_row_for_hundreds_of_directories",
    "test_runs_together.py::test_the_files_of_both_are_run",
    "test_schema.py::test_killed_at_any_statement_it_can_be_opened_again",
    "test_steering_live.py::test_a_worker_says_what_is_paused_and_waits",
    "test_takeover_live.py::test_commands_that_were_asking_the_first_one",
    "test_time_limit.py::test_at_its_limit_a_worker_gives_back_what_runs_and_ends_well",
}
"""Whole tests of some seconds whose neighbours reach most of what they do."""


def thin(items: Iterable[pytest.Item]) -> None:
    """Marks the others as slow."""
    met: Counter[str] = Counter()
    for item in items:
        name = f"{item.path.name}::{getattr(item, 'originalname', item.name)}"
        if name in LEFT:
            item.add_marker(pytest.mark.slow)
        elif name in ONE_OF:
            if met[name] % ONE_OF[name]:
                item.add_marker(pytest.mark.slow)
            met[name] += 1
