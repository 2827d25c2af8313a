"""Where the instances of each task have been, written by the database itself (ADR 0024)."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# A state change names none of these columns, so that the second trigger costs it nothing. In the order of the key, so that
# two writers never wait for each other in a circle.
COLUMNS = "task_id, project_id, workflow_id, folder_id, owner_id, resource_group_id, task_type, cycle_type"
FORWARD = f"""
CREATE FUNCTION weops_task_places() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO instances_taskplace ({COLUMNS})
    SELECT DISTINCT {COLUMNS} FROM made
    WHERE NOT EXISTS (
        SELECT FROM instances_taskplace p WHERE p.task_id = made.task_id
          AND (p.project_id, p.workflow_id, p.folder_id, p.owner_id, p.resource_group_id, p.task_type, p.cycle_type)
              IS NOT DISTINCT FROM (made.project_id, made.workflow_id, made.folder_id, made.owner_id,
                                    made.resource_group_id, made.task_type, made.cycle_type))
    ORDER BY {COLUMNS}
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE FUNCTION weops_task_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO instances_taskplace ({COLUMNS})
    VALUES (NEW.task_id, NEW.project_id, NEW.workflow_id, NEW.folder_id, NEW.owner_id, NEW.resource_group_id,
            NEW.task_type, NEW.cycle_type)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER task_places AFTER INSERT ON instances_instance REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION weops_task_places();
CREATE TRIGGER task_moved AFTER UPDATE OF {COLUMNS} ON instances_instance
    FOR EACH ROW WHEN ((OLD.task_id, OLD.project_id, OLD.workflow_id, OLD.folder_id, OLD.owner_id, OLD.resource_group_id,
                        OLD.task_type, OLD.cycle_type) IS DISTINCT FROM
                       (NEW.task_id, NEW.project_id, NEW.workflow_id, NEW.folder_id, NEW.owner_id, NEW.resource_group_id,
                        NEW.task_type, NEW.cycle_type))
    EXECUTE FUNCTION weops_task_moved();
"""  # noqa: S608 - constants
BACKWARD = """
DROP TRIGGER task_places ON instances_instance;
DROP TRIGGER task_moved ON instances_instance;
DROP FUNCTION weops_task_places();
DROP FUNCTION weops_task_moved();
"""


class Migration(migrations.Migration):
    dependencies = [("instances", "0022_operations_on_secrets")]
    operations = [
        migrations.CreateModel(
            name="TaskPlace",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("project_id", models.BigIntegerField()),
                ("workflow_id", models.BigIntegerField()),
                ("folder_id", models.BigIntegerField(null=True)),
                ("owner_id", models.BigIntegerField(null=True)),
                ("resource_group_id", models.BigIntegerField()),
                ("task_type", models.CharField(max_length=16)),
                ("cycle_type", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="instances.task",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "task",
                            "project_id",
                            "workflow_id",
                            "folder_id",
                            "owner_id",
                            "resource_group_id",
                            "task_type",
                            "cycle_type",
                        ),
                        name="task_place_once",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
