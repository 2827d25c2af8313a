"""What is found out about instances, as JSON: the graph of lineage, blockers, traversals, time line."""

from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from instances.insight.grid import Grid
from instances.insight.traversals import ListedTraversal, Step


class NodeSerializer(serializers.Serializer):
    """An instance, or a data time that is not generated yet. What is empty is left out."""

    key = serializers.CharField(help_text="Edges name it.")
    id = serializers.IntegerField(allow_null=True, help_text="Null: locked, or not generated yet.")
    title = serializers.CharField(help_text="The task's name.")
    subtitle = serializers.CharField(help_text="The data time in the task's own zone.")
    state = serializers.CharField(
        help_text="Of the instance; `missing`: not generated yet; `locked`: of a project that you do not see."
    )
    level = serializers.IntegerField(help_text="Steps from the instance in question, upstream negative.")
    x = serializers.FloatField(help_text="Where to draw it, in pixels.")
    y = serializers.FloatField()
    more_up = serializers.IntegerField(required=False, help_text="Neighbours that are not in the graph.")
    more_down = serializers.IntegerField(required=False)
    locked = serializers.BooleanField(required=False)
    frozen = serializers.BooleanField(required=False)
    operations = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="What you may do with it now."
    )
    facts = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()), required=False, help_text="[label, value]"
    )


class GraphEdgeSerializer(serializers.Serializer):
    """`to` waits for `from`."""

    to = serializers.CharField()
    state = serializers.CharField(help_text="open: still waited for; met; removed; waived.")
    title = serializers.CharField()
    bends = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.CharField(), **super().get_fields()}


class GraphSerializer(serializers.Serializer):
    """As docs/graph-format.md says."""

    focus = serializers.CharField(help_text="Key of the instance in question.")
    note = serializers.CharField(help_text="What is left out, in words; empty if nothing is.")
    width = serializers.FloatField()
    height = serializers.FloatField()
    node = serializers.DictField(child=serializers.FloatField())
    states = serializers.DictField(child=serializers.DictField(child=serializers.CharField()))
    links = serializers.DictField(child=serializers.CharField())
    kinds = serializers.DictField()
    nodes = NodeSerializer(many=True)
    edges = GraphEdgeSerializer(many=True)


class TargetSerializer(serializers.Serializer):
    kind = serializers.CharField()
    id = serializers.IntegerField(allow_null=True)


class FixSerializer(serializers.Serializer):
    kind = serializers.CharField(help_text="An operation, or another thing to do.")
    id = serializers.IntegerField(allow_null=True)
    target = serializers.CharField()
    data_time = serializers.CharField(help_text="For which an event is to be fired; empty for all others.")


class BlockerSerializer(serializers.Serializer):
    kind = serializers.CharField(help_text="instance, missing, event, group, serial or lane.")
    title = serializers.CharField()
    how = serializers.CharField()
    state = serializers.CharField()
    held = serializers.IntegerField(help_text="Instances that it holds up.")
    at_least = serializers.BooleanField(help_text="There may be more.")
    since = serializers.CharField(allow_null=True)
    target = TargetSerializer(allow_null=True)
    fixes = FixSerializer(many=True)


class BoardSerializer(serializers.Serializer):
    waiting = serializers.IntegerField(help_text="Instances that wait for upstream and were looked at.")
    note = serializers.CharField(help_text="What was not looked at, in words.")
    blockers = BlockerSerializer(many=True)


class TraversalSerializer(serializers.Serializer):
    """One item of the array. `done`, `failed`, `open`: its inner instances; of an `old` one, an earlier life had more items."""

    number = serializers.IntegerField(source="row.number")
    item = serializers.SerializerMethodField()
    state = serializers.CharField(source="row.state")
    started_at = serializers.DateTimeField(source="row.started_at", allow_null=True)
    ended_at = serializers.DateTimeField(source="row.ended_at", allow_null=True)
    tasks = serializers.IntegerField(source="progress.tasks")
    success = serializers.IntegerField(source="progress.success")
    failed = serializers.IntegerField(source="progress.failed")
    open = serializers.IntegerField(source="progress.open")
    old = serializers.BooleanField(source="is_old")

    def get_item(self, one: ListedTraversal) -> str:
        """Without the values of secrets."""
        return str(self.context["mask"].mask_text(one.row.item))


class TraversalCountsSerializer(serializers.Serializer):
    """Traversals by state; `kept`: of the successful ones, those that an earlier run had done."""

    total = serializers.IntegerField()
    pending = serializers.IntegerField()
    active = serializers.IntegerField()
    success = serializers.IntegerField()
    failed = serializers.IntegerField()
    stopped = serializers.IntegerField()
    kept = serializers.IntegerField()
    stop_code = serializers.CharField()


class TraversalsSerializer(serializers.Serializer):
    counts = TraversalCountsSerializer(source="run", allow_null=True, help_text="Null: it has begun none.")
    results = TraversalSerializer(source="rows", many=True)
    after = serializers.IntegerField(
        allow_null=True, help_text="Send it to read on; null: there are no more."
    )


class StepSerializer(serializers.Serializer):
    """An inner task in the DAG of a traversal."""

    task = serializers.IntegerField(source="task_id")
    name = serializers.CharField()
    layer = serializers.IntegerField(help_text="Steps from the beginning.")
    after = serializers.ListField(child=serializers.CharField(), help_text="Names of those that it follows.")
    instance = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()

    def get_instance(self, step: Step) -> int | None:
        """Null: it has not begun."""
        return step.instance.pk if step.instance else None

    def get_state(self, step: Step) -> str | None:
        return step.instance.state if step.instance else None


class DrawnSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    item = serializers.CharField(help_text="Without the values of secrets.")
    state = serializers.CharField()
    old = serializers.BooleanField()
    steps = StepSerializer(many=True)


class BarSerializer(serializers.Serializer):
    """It waited from `waited` to `began` and ran until `ended`; `expected`: some of that is a forecast."""

    instance = serializers.IntegerField(source="instance.pk")
    task = serializers.IntegerField(source="instance.task_id")
    task_name = serializers.CharField(source="instance.task.name")
    data_time = serializers.DateTimeField(source="instance.data_time")
    state = serializers.CharField(source="instance.state")
    waited = serializers.DateTimeField(allow_null=True)
    began = serializers.DateTimeField(allow_null=True)
    ended = serializers.DateTimeField(allow_null=True)
    expected = serializers.BooleanField()
    critical = serializers.BooleanField(help_text="On the chain that ends last.")


class TimelineSerializer(serializers.Serializer):
    begin = serializers.DateTimeField(allow_null=True)
    end = serializers.DateTimeField(allow_null=True)
    done = serializers.DateTimeField(
        allow_null=True, help_text="When all of it is, or is expected to be, done."
    )
    path = serializers.SerializerMethodField()
    count = serializers.IntegerField()
    capped = serializers.BooleanField(help_text="There are more instances than were looked at.")
    pages = serializers.IntegerField()
    bars = BarSerializer(many=True)

    def get_path(self, found: Any) -> list[int]:
        """Instances of the critical path, the first first."""
        return [one.pk for one in found.path]


class CellSerializer(serializers.Serializer):
    """An instance; a data time that a task has none of is left out."""

    data_time = serializers.DateTimeField()
    id = serializers.IntegerField()
    state = serializers.CharField()
    error_code = serializers.CharField()
    frozen = serializers.BooleanField()


class GridRowSerializer(serializers.Serializer):
    task = serializers.IntegerField()
    task_name = serializers.CharField()
    cells = CellSerializer(many=True)


class GridSerializer(serializers.Serializer):
    times = serializers.ListField(
        child=serializers.DateTimeField(), help_text="Data times, the oldest first."
    )
    rows = GridRowSerializer(many=True)
    pages = serializers.IntegerField()
    earlier = serializers.DateTimeField(allow_null=True, help_text="Send it as `before` for earlier ones.")

    def to_representation(self, found: Grid) -> Any:
        rows = [
            {
                "task": task.pk,
                "task_name": task.name,
                "cells": [
                    {**asdict(cell), "data_time": time}
                    for time, cell in zip(found.times, cells, strict=True)
                    if cell
                ],
            }
            for task, cells in found.rows
        ]
        said = {"times": found.times, "rows": rows, "pages": found.pages, "earlier": found.earlier}
        return super().to_representation(said)
