"""The rows of the README's table of parts that are away, each with the tests that show what it says.

``python tests/degradation/rows.py [ROW]`` prints the tests of all rows, or of one, for pytest::

    pytest -v $(python tests/degradation/rows.py "Whole cluster")
"""

from __future__ import annotations

import sys

ROWS: dict[str, tuple[str, ...]] = {
    "Master, its replica is there": (
        "tests/cluster/test_cluster_failover.py::test_a_replica_takes_over_from_a_killed_master_which_heals_to_a_replica",
        "tests/store/test_store.py::test_requests_ride_through_a_planned_failover",
        "tests/store/test_silence.py::test_a_hung_node_is_left_as_soon_as_its_slots_are_elsewhere",
        "tests/faults/test_faults.py::test_what_was_acknowledged_is_handled_and_nothing_is_stuck",
    ),
    "Master and its replica": (
        "tests/store/test_courier.py::test_one_dead_shard_does_not_hold_up_the_others",
        "tests/faults/test_hung_partition.py::test_partitions_go_on_while_the_one_with_the_most_urgent_messages_hangs",
        "tests/faults/test_hung_partition.py::test_partitions_go_on_while_one_is_down_that_was_known_to_have_something_more_urgent",
        "tests/faults/test_refusal.py::test_a_master_that_hangs_costs_a_publisher_no_more_than_its_time",
        "tests/cluster/test_cluster_failover.py::test_healing_brings_back_a_shard_that_lost_all_its_nodes",
    ),
    "Replica": (
        "tests/faults/test_confirmation.py::test_a_master_without_replica_is_taken_at_its_word_at_once_and_that_is_said_once",
        "tests/faults/test_confirmation.py::test_a_master_without_replica_is_refused_where_that_is_asked_for",
        "tests/faults/test_confirmation.py::test_what_no_replica_has_is_not_acknowledged_and_may_be_stored",
        "tests/store/test_confirmer.py::test_shards_without_a_replica_are_told_with_what_follows",
    ),
    "Whole cluster": (
        "tests/degradation/test_without.py::test_runs_wait_for_the_whole_cluster_and_go_on_where_they_were",
        "tests/cluster/test_cluster_life.py::test_killing_all_nodes_keeps_what_was_acknowledged",
        "tests/events/test_event_bus.py::test_block_waits_for_room_and_stores_what_was_accepted_when_the_broker_is_back",
        "tests/events/test_event_bus.py::test_refuse_refuses_at_once_when_it_is_known",
        "tests/events/test_event_bus.py::test_spill_takes_any_number_and_stores_them_in_order_when_the_broker_is_back",
        "tests/coordination/test_leader.py::test_without_a_cluster_a_leader_goes_on_and_leads_no_more",
        "tests/monitoring/test_tracker.py::test_while_the_cluster_is_away_the_tracker_waits_and_counts_once",
        "tests/monitoring/test_metrics.py::test_without_a_cluster_it_says_so_and_is_alive_but_not_ready",
        "tests/cli/test_cli_bad_input.py::test_a_broker_that_is_not_there_is_said_within_five_seconds",
    ),
    "One agent": (
        "tests/agents/test_agent_fleets.py::test_when_an_agent_is_killed_nothing_is_lost_and_no_write_is_done_twice",
        "tests/broker/test_workers.py::test_the_messages_of_a_killed_worker_are_back_within_two_leases",
        "tests/deploy/test_deploy_nursery.py::test_killed_agents_come_back_and_a_drain_loses_no_operation",
        "tests/cli/test_cli_leftovers.py::test_a_call_that_may_not_be_repeated_is_unknown_after_its_agent_was_killed",
    ),
    "Each agent that takes one certain operation": (
        "tests/agents/test_poison.py::test_an_operation_that_ends_its_agent_each_time_takes_no_other_along",
        "tests/broker/test_channel.py::test_a_process_has_one_suspect_at_a_time_whatever_queues_they_come_from",
    ),
    "All agents": (
        "tests/degradation/test_without.py::test_without_agents_runs_and_orders_wait_and_a_submission_must_say_that_it_may",
    ),
    "Coordinator": (
        "tests/coordination/test_coordinators.py::test_runs_go_on_without_any_coordinator",
        "tests/coordination/test_coordinators.py::test_when_the_leader_is_killed_the_other_one_repairs",
        "tests/monitoring/test_tracker.py::test_coordinators_that_are_killed_while_they_count_lose_nothing_and_count_nothing_twice",
    ),
    "Exporter": (
        "tests/degradation/test_without.py::test_runs_go_on_when_who_looks_on_is_killed[exporter]",
    ),
    "Flower": (
        "tests/degradation/test_without.py::test_runs_go_on_when_who_looks_on_is_killed[flower]",
    ),
    "Fork server": (
        "tests/deploy/test_deploy_nursery.py::test_a_fork_server_that_dies_takes_its_agents_along_and_another_takes_its_place",
    ),
    "Supervisor (`omx up`)": (
        "tests/cli/test_cli_leftovers.py::test_of_two_systems_started_in_one_home_at_once_one_is_up_and_after_its_sigkill_the_next",
        "tests/deploy/test_deploy_home.py::test_a_record_of_a_dead_supervisor_says_that_none_is_up",
    ),
    "One MCP server": (
        "tests/agents/test_outages.py::test_operations_wait_for_a_server_that_comes_later_and_are_not_delivered_meanwhile",
        "tests/agents/test_outages.py::test_operations_go_to_an_agent_that_can_call_the_server",
        "tests/agents/test_outages.py::test_operations_fail_with_the_reason_when_nobody_can_call_their_server_for_long",
        "tests/agents/test_outages.py::test_reads_survive_a_server_that_dies_or_hangs_in_their_middle",
        "tests/cli/test_cli_bad_input.py::test_a_broken_server_that_the_graph_uses_is_refused_with_its_own_words",
        "tests/cli/test_cli_bad_input.py::test_a_broken_server_that_the_graph_does_not_use_is_only_a_warning",
    ),
    "Proxy (HAProxy)": (
        "tests/degradation/test_without.py::test_who_has_found_the_cluster_needs_the_proxy_no_more",
        "tests/reach/test_remap.py::test_the_seed_leads_back_when_every_address_has_changed",
    ),
    "Handler of events": (
        "tests/events/test_event_processor.py::test_a_slow_or_failing_handler_holds_up_no_other",
        "tests/events/test_event_processor.py::test_what_failed_is_tried_again_in_order_and_counted",
        "tests/events/test_event_processor.py::test_poison_is_parked_with_its_error_and_its_key_goes_on",
        "tests/events/test_event_leases.py::test_what_a_dead_one_had_is_taken_also_beside_what_a_living_one_has",
        "tests/cli/test_cli_events.py::test_what_a_handler_failed_on_is_shown_put_back_and_dropped",
    ),
}


if __name__ == "__main__":
    print(*[test for row in sys.argv[1:] or ROWS for test in ROWS[row]], sep="\n")
