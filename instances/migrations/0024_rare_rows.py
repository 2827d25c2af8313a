"""The places of instances that were there before the triggers, and indexes for rare rows; nothing here keeps writers waiting."""

import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F

COLUMNS = "task_id, project_id, workflow_id, folder_id, owner_id, resource_group_id, task_type, cycle_type"
# One pass over all instances, and two more for the indexes, take as long as they take.
FILL = f"""
INSERT INTO instances_taskplace ({COLUMNS}) SELECT DISTINCT {COLUMNS} FROM instances_instance ORDER BY {COLUMNS}
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("instances", "0023_task_places")]
    operations = [
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        # Older transactions are waited for: an index that is given up stays there, broken.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "instance",
            models.Index(
                F("data_time").desc(),
                F("id").desc(),
                condition=~models.Q(instance_type="periodic"),
                name="instance_not_periodic",
            ),
        ),
        AddIndexConcurrently(
            "instance",
            django.contrib.postgres.indexes.BrinIndex(
                fields=["start_time"], autosummarize=True, name="instance_by_start"
            ),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
