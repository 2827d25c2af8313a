"""This worker's host as its deployment has set it up, for the runners, which know no settings."""

import os

from django.conf import settings

from instances.runners.caps import Caps
from instances.runners.host import Host

MEGABYTE = 1024 * 1024


def host_of_settings() -> Host:
    """One per worker process."""
    return Host(
        caps=Caps(
            head=settings.WEOPS_LOG_HEAD_MB * MEGABYTE,
            tail=settings.WEOPS_LOG_TAIL_MB * MEGABYTE,
            line=settings.WEOPS_LOG_LINE_KB * 1024,
            rate=settings.WEOPS_LOG_RATE_MB * MEGABYTE or None,
        ),
        work_root=settings.WEOPS_WORK_ROOT or None,
        run_as=settings.WEOPS_RUN_AS or None,
        environment={
            name: os.environ[name] for name in settings.WEOPS_TASK_ENVIRONMENT if name in os.environ
        },
        allowed_networks=tuple(settings.WEOPS_ALLOWED_NETWORKS),
        spark_master=settings.WEOPS_SPARK_MASTER,
        spark_submit=settings.WEOPS_SPARK_SUBMIT,
    )
