from django.db import migrations

# Room on each page for new versions of the rows that change most, so that an update stays on its page (HOT),
# and an autovacuum that comes early to the two tables that churn.
FORWARD = """
ALTER TABLE instances_lease SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200);
ALTER TABLE instances_instance SET (fillfactor = 85);
ALTER TABLE instances_execution SET (fillfactor = 85);
ALTER TABLE instances_workerprocess SET (fillfactor = 50);
ALTER TABLE instances_logchunk SET (autovacuum_vacuum_scale_factor = 0.05);
"""


class Migration(migrations.Migration):
    dependencies = [("instances", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
