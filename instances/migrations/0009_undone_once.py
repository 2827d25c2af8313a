import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("instances", "0008_backfill"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="frozenset",
            name="user",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RemoveConstraint(
            model_name="operationrecord",
            name="operation_undoes_once",
        ),
        migrations.AddConstraint(
            model_name="operationrecord",
            constraint=models.UniqueConstraint(
                condition=models.Q(("undoes__isnull", False), models.Q(("state", "FAIL"), _negated=True)),
                fields=("undoes",),
                name="operation_undoes_once",
            ),
        ),
    ]
