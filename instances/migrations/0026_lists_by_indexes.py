"""Indexes that counts of lists are read from alone, and those of rare rows; nothing here keeps writers waiting for long."""

import datetime

import django.db.models.lookups
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

LAG = models.ExpressionWrapper(models.F("start_time") - models.F("data_time"), models.DurationField())


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("instances", "0025_test_runs")]
    operations = [
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        # An index answers alone only for pages that were vacuumed since they were written.
        migrations.RunSQL(
            "ALTER TABLE instances_instance SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.02)",
            "ALTER TABLE instances_instance RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor)",
        ),
        # Older transactions are waited for: an index that is given up stays there, broken.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "instance",
            models.Index(
                fields=["state", "-data_time", "-id"], include=["task", "traversal"], name="instance_in_state"
            ),
        ),
        AddIndexConcurrently(
            "instance",
            models.Index(
                fields=["task", "state", "-data_time", "-id"],
                include=["traversal"],
                condition=models.Q(state__in=("failed", "failed_retry", "skipped")),
                name="instance_uncommon",
            ),
        ),
        AddIndexConcurrently(
            "instance",
            models.Index(
                fields=["start_time"],
                condition=models.Q(start_time__isnull=False),
                name="instance_started",
            ),
        ),
        AddIndexConcurrently(
            "instance",
            models.Index(
                fields=["-data_time", "-id"],
                condition=models.Q(django.db.models.lookups.LessThan(LAG, datetime.timedelta(0)))
                | models.Q(django.db.models.lookups.GreaterThan(LAG, datetime.timedelta(days=2))),
                name="instance_off_time",
            ),
        ),
        RemoveIndexConcurrently("instance", "instance_by_state"),
        RemoveIndexConcurrently("instance", "instance_by_start"),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
