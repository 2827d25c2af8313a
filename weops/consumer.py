"""Celery's consumer without its delayed delivery: with quorum queues that declares 28 queues and exchanges at every
worker's start, for an eta that WeOps never uses (a retry's wait lives in the database)."""

from celery.worker.consumer import Consumer


class HintConsumer(Consumer):
    class Blueprint(Consumer.Blueprint):
        default_steps = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in str(step)
        ]
