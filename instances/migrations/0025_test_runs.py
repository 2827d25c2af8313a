"""Test runs, and versions that were never submitted. Nothing here keeps writers waiting."""

import django.contrib.postgres.operations as postgres
from django.db import migrations, models

TYPES = ["periodic", "non_periodic", "supplementary", "test"]


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
        migrations.RemoveConstraint("instance", "instance_type_known"),
        postgres.AddConstraintNotValid(
            "instance",
            models.CheckConstraint(
                condition=models.Q(instance_type__in=TYPES), name="instance_type_known"
            ),
        ),
        # Reads all instances, and lets others write them meanwhile.
        postgres.ValidateConstraint("instance", "instance_type_known"),
        postgres.AddIndexConcurrently(
            "instance",
            models.Index(
                condition=models.Q(instance_type="test"), fields=["task"], name="instance_tests"
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
