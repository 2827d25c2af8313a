"""What tests of operations share: records with small batches, real processes that apply them, and what must hold after."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from instances import operations
from instances.engine import generation
from instances.models import FrozenBatch, Instance, OperationItem, OperationRecord
from tests import factories as make
from tests import stack
from tests.engine import harness

APPLY = "import django; django.setup(); from instances import operations; operations.work({})"


def many(count: int, tasks: int = 1, **columns: Any) -> list[int]:
    """Ids of `count` instances of each of so many tasks, all waiting for execution."""
    since = harness.JANUARY - count * harness.DAY
    made = [harness.make_due(count, since=since, **columns) for _ in range(tasks)]
    generation.generate()
    return list(Instance.objects.filter(task__in=made).order_by("id").values_list("id", flat=True))


def begun(
    kind: str, ids: list[int], size: int = 0, *, user: User | None = None, **given: Any
) -> OperationRecord:
    """An operation that nobody has applied any batch of yet, in batches of `size` (0: as they are frozen)."""
    given = {"reason": "test", "source": "api", **given}
    record = operations.run(kind, ids, user=user, background=True, **given)
    if size:
        split(record, size)
    return record


def split(record: OperationRecord, size: int) -> None:
    """Cuts the batches of an operation into smaller ones."""
    batches = list(FrozenBatch.objects.filter(frozen_set=record.frozen_set_id).order_by("seq"))
    rows = [row for one in batches for row in zip(one.instance_ids, one.marks, one.layers, strict=True)]
    assert record.frozen_set_id is not None
    with transaction.atomic():
        FrozenBatch.objects.filter(frozen_set=record.frozen_set_id).delete()
        for seq, start in enumerate(range(0, len(rows), size), 1):
            ids, marks, layers = map(list, zip(*rows[start : start + size], strict=True))
            FrozenBatch.objects.create(
                frozen_set_id=record.frozen_set_id, seq=seq, instance_ids=ids, marks=marks, layers=layers
            )


def one_batch(record: OperationRecord) -> bool:
    """Applies the next batch; True: it was the last."""
    return operations.work(record.pk, seconds=0)


def fresh(record: OperationRecord) -> OperationRecord:
    return OperationRecord.objects.get(pk=record.pk)


def outcomes(record: OperationRecord) -> dict[int, str]:
    return dict(record.items.order_by("instance_id").values_list("instance_id", "outcome"))


def messages(record: OperationRecord) -> dict[int, str]:
    return dict(record.items.order_by("instance_id").values_list("instance_id", "message"))


def assert_counted(record: OperationRecord) -> None:
    """The record counts what its outcomes say, and they are of the set's instances, each once."""
    record = fresh(record)
    found = Counter(OperationItem.objects.filter(operation=record).values_list("outcome", flat=True))
    assert found == +Counter(
        done=record.done, refused=record.refused, failed=record.failed, cancelled=record.cancelled
    )
    batches = FrozenBatch.objects.filter(frozen_set=record.frozen_set_id)
    frozen = [pk for batch in batches for pk in batch.instance_ids]
    assert len(frozen) == record.total
    if record.finished_at is not None:
        assert sorted(frozen) == list(outcomes(record))
        assert not batches.filter(applied_at=None).exists()


def environment() -> dict[str, str]:
    """Of a process that works on the test's database."""
    return {
        **os.environ,
        "DATABASE_URL": stack.database_url(),
        "CELERY_BROKER_URL": settings.CELERY_BROKER_URL,
        "WEOPS_HOME": str(settings.WEOPS_HOME),
    }


def applying_process(record: OperationRecord) -> "subprocess.Popen[bytes]":
    """A real process that applies the operation on the test's database."""
    return subprocess.Popen(
        [sys.executable, "-c", APPLY.format(record.pk)],
        cwd=stack.PROJECT,
        env=environment(),
        start_new_session=True,
    )


def two_projects() -> tuple[User, list[int], list[int]]:
    """An operator of two projects, and three instances in each."""
    here, there = make.make_project(), make.make_project()
    omar = make.make_user(make.OMAR, project=here)
    make.make_user(make.OMAR, project=there)
    found = [many(3, workflow=make.make_workflow(project)) for project in (here, there)]
    return omar, found[0], found[1]


@contextmanager
def unguarded() -> Iterator[CursorWrapper]:
    """What the triggers of the record forbid, as only the owner of the table can do it: for tests of what time brings."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE instances_operationrecord DISABLE TRIGGER USER")
        yield cursor
        cursor.execute("ALTER TABLE instances_operationrecord ENABLE TRIGGER USER")
