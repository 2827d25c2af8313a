"""Where the instances of a task have been: what lists look up before they read any instance (ADR 0024)."""

from django.db import models
from django.db.models.functions import Now

from instances.models.definition import Task


class TaskPlace(models.Model):
    """One combination of columns that an instance of the task was ever written with. Triggers write it, nobody else.

    It is never taken back: a superset of what the instances of now have.
    """

    task = models.ForeignKey(Task, models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    project_id = models.BigIntegerField()
    workflow_id = models.BigIntegerField()
    folder_id = models.BigIntegerField(null=True)
    owner_id = models.BigIntegerField(null=True)
    resource_group_id = models.BigIntegerField()
    task_type = models.CharField(max_length=16)
    cycle_type = models.CharField(max_length=16)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=[
                    "task",
                    "project_id",
                    "workflow_id",
                    "folder_id",
                    "owner_id",
                    "resource_group_id",
                    "task_type",
                    "cycle_type",
                ],
                name="task_place_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"task {self.task_id} in project {self.project_id}"
