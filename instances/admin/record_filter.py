"""The list of operation records: the rows of its pages."""

from django.db.models import QuerySet
from django.http import HttpRequest

from instances.insight.shown import hide_options
from instances.models import Instance, OperationRecord
from instances.record_filters import RecordFilter, visible_items
from weops.console.changelist import FilteredChangeList


class RecordChangeList(FilteredChangeList):
    """A page of records, newest first. Those of a single instance get its `subject`, the instance with its task."""

    filter_class = RecordFilter

    def before(self, rows: QuerySet[OperationRecord], mark: str) -> QuerySet[OperationRecord]:
        if not mark.isdecimal() or len(mark) > 18:
            raise ValueError(f"{mark!r} is no mark of a page.")
        return rows.filter(pk__lt=int(mark))

    def mark(self, row: OperationRecord) -> str:
        return str(row.pk)

    def read(self, request: HttpRequest) -> None:
        super().read(request)
        single = [record.pk for record in self.result_list if record.total == 1]
        of = dict(
            visible_items(request.user)
            .filter(operation__in=single)
            .values_list("operation_id", "instance_id")
        )
        rows = Instance.objects.filter(pk__in=of.values()).select_related("task")
        instances = {row.pk: row for row in rows.only("data_time", "task__name", "task__timezone")}
        hide_options(self.result_list)
        for record in self.result_list:
            record.subject = instances.get(of.get(record.pk, 0))
