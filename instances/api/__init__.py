"""REST: workflows, tasks, instances, their executions and logs, operations, backfills."""
