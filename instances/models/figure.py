"""How each day of a task went, counted up from the history of states by `instances.figures`."""

from django.db import models
from django.db.models.functions import Now


class DayFigure(models.Model):
    """What ended on one day (of the server's zone): how often instances of a task became successful or failed, and how
    long the runs among them took. Kept as long as instances. Index `day_figure_by_day`: sums over days and projects."""

    day = models.DateField()
    task_id = models.BigIntegerField()
    project_id = models.BigIntegerField()
    succeeded = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    runs = models.PositiveIntegerField(default=0)
    run_seconds = models.FloatField(default=0)
    longest_seconds = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task_id", "day"], name="day_figure_once")]
        indexes = [models.Index(fields=["day", "project_id"], name="day_figure_by_day")]

    def __str__(self) -> str:
        return f"task {self.task_id} on {self.day}"


class FigureMark(models.Model):
    """One row: the last change of state that the figures contain, and when that was found out."""

    change_id = models.BigIntegerField(default=0)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"figures up to change {self.change_id}"
