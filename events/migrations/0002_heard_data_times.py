"""Finding out whether a data time was heard does not take longer than the firings of its event are many."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("events", "0001_initial")]
    operations = [
        migrations.RunSQL("SET statement_timeout = 0", migrations.RunSQL.noop),
        # Older transactions are waited for: an index that is given up stays there, broken.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "eventinstance",
            models.Index(
                fields=["event", "data_time"],
                condition=models.Q(consumers__gt=0),
                name="event_instance_heard",
            ),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
        migrations.RunSQL("RESET statement_timeout", migrations.RunSQL.noop),
    ]
