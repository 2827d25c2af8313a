from django.db import migrations

# What happened stays on record: only retention may delete (it says so by SET LOCAL weops.retention = 'on'), outcomes and
# history never change, and a record only goes forward. Row triggers on UPDATE and DELETE cost an INSERT nothing.
FORWARD = """
CREATE FUNCTION weops_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF current_setting('weops.retention', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION '% is append-only: only retention deletes its rows', TG_TABLE_NAME USING ERRCODE = 'WE001';
    END IF;
    RAISE EXCEPTION '% is append-only: its rows never change', TG_TABLE_NAME USING ERRCODE = 'WE001';
END $$;

CREATE FUNCTION weops_record_forward() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_change text[] := ARRAY['operator_id', 'cancel_requested_by_id'];
BEGIN
    -- An account that is removed leaves its name behind, no more.
    IF OLD.finished_at IS NULL THEN
        may_change := may_change || ARRAY['state', 'done', 'refused', 'failed', 'cancelled', 'started_at', 'moved_at',
                                          'finished_at', 'cancel_requested_at'];
    ELSIF NEW.operator_id IS NOT NULL AND NEW.operator_id IS DISTINCT FROM OLD.operator_id THEN
        RAISE EXCEPTION 'the operator of operation % never changes', OLD.id USING ERRCODE = 'WE001';
    END IF;
    IF to_jsonb(OLD) - may_change IS DISTINCT FROM to_jsonb(NEW) - may_change THEN
        RAISE EXCEPTION 'operation % is on record: what was asked for, and an outcome, never change', OLD.id
            USING ERRCODE = 'WE001';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON instances_operationitem
    FOR EACH ROW EXECUTE FUNCTION weops_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON instances_statechange
    FOR EACH ROW EXECUTE FUNCTION weops_append_only();
CREATE TRIGGER append_only BEFORE DELETE ON instances_operationrecord
    FOR EACH ROW EXECUTE FUNCTION weops_append_only();
CREATE TRIGGER forward_only BEFORE UPDATE ON instances_operationrecord
    FOR EACH ROW EXECUTE FUNCTION weops_record_forward();
"""

BACKWARD = """
DROP TRIGGER append_only ON instances_operationitem;
DROP TRIGGER append_only ON instances_statechange;
DROP TRIGGER append_only ON instances_operationrecord;
DROP TRIGGER forward_only ON instances_operationrecord;
DROP FUNCTION weops_append_only();
DROP FUNCTION weops_record_forward();
"""


class Migration(migrations.Migration):
    dependencies = [("instances", "0005_operations")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
