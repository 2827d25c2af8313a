"""This worker's host as its deployment has set it up, for the runners, which know no settings."""

import os

from django.conf import settings

from instances.runners.host import Host


def host_of_settings() -> Host:
    """One per worker process."""
    return Host(
        work_root=settings.WEOPS_WORK_ROOT or None,
        run_as=settings.WEOPS_RUN_AS or None,
        environment={
            name: os.environ[name] for name in settings.WEOPS_TASK_ENVIRONMENT if name in os.environ
        },
        allowed_networks=tuple(settings.WEOPS_ALLOWED_NETWORKS),
        spark_master=settings.WEOPS_SPARK_MASTER,
        spark_submit=settings.WEOPS_SPARK_SUBMIT,
    )
