"""The order of what For-each tasks and test runs are made of; nothing here keeps writers waiting."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("instances", "0026_lists_by_indexes")]
    operations = [
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        # Older transactions are waited for: an index that is given up stays there, broken.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "instance",
            models.Index(
                fields=["-data_time", "-id"],
                condition=models.Q(for_each_id__isnull=False),
                name="instance_inside",
            ),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
