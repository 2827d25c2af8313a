"""Test runs, and versions that were never submitted. Nothing here keeps writers waiting."""

import django.contrib.postgres.operations as postgres
from django.db import migrations, models

TYPES = ["periodic", "non_periodic", "supplementary", "test"]
KNOWN = """
ALTER TABLE instances_instance DROP CONSTRAINT IF EXISTS instance_type_known,
ADD CONSTRAINT instance_type_known CHECK (instance_type IN ({types})) NOT VALID
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("instances", "0024_rare_rows")]
    operations = [
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        migrations.AlterField("taskversion", "number", models.PositiveIntegerField(null=True)),
        migrations.AlterField(
            "instance",
            "instance_type",
            models.CharField(
                choices=[
                    ("periodic", "Periodic instance"),
                    ("non_periodic", "Non-periodic instance"),
                    ("supplementary", "Supplementary instance"),
                    ("test", "Test run"),
                ],
                max_length=16,
            ),
        ),
        # In one statement: what was given up halfway can be begun again.
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(KNOWN.format(types="'periodic', 'non_periodic', 'supplementary', 'test'"), KNOWN.format(types="'periodic', 'non_periodic', 'supplementary'"))],
            [
                migrations.RemoveConstraint("instance", "instance_type_known"),
                migrations.AddConstraint(
                    "instance",
                    models.CheckConstraint(
                        condition=models.Q(instance_type__in=TYPES), name="instance_type_known"
                    ),
                ),
            ],
        ),
        # Reads all instances, and lets others write them meanwhile.
        postgres.ValidateConstraint("instance", "instance_type_known"),
        # Older transactions are waited for: an index that is given up stays there, broken.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        postgres.AddIndexConcurrently(
            "instance",
            models.Index(
                condition=models.Q(instance_type="test"), fields=["task"], name="instance_tests"
            ),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
