"""Lines of the engine's own in a log that no worker writes any more: that of an execution whose work goes on elsewhere.

Its worker has handed the log on (`Sink.hand_on`): its chunks are stored, and neither counted nor sealed.
"""

from collections.abc import Sequence

from django.db import connection, transaction
from django.utils import timezone

from instances.engine.logs.sealing import seal

# Of the two-number kind; the second number is the execution.
_APPENDING = 0x4C4F_4741
_LOCK = "SELECT pg_advisory_xact_lock(%s, hashint8(%s))"

_APPEND = r"""
INSERT INTO instances_logchunk (execution_id, seq, start, line, text)
SELECT e.id, coalesce(c.seq + 1, 0), coalesce(c.start + length(c.text), 0),
       coalesce(c.line + length(c.text) - length(replace(c.text, E'\n', '')), 0), %s
FROM instances_execution e LEFT JOIN LATERAL (
    SELECT seq, start, line, text FROM instances_logchunk WHERE execution_id = e.id ORDER BY seq DESC LIMIT 1) c ON true
WHERE e.id = %s AND e.log_file = ''
"""

_COUNT = r"""
UPDATE instances_execution e SET log_bytes = c.bytes, log_lines = c.lines
FROM (SELECT coalesce(sum(octet_length(text)), 0) AS bytes,
             coalesce(sum(length(text) - length(replace(text, E'\n', ''))), 0) AS lines
      FROM instances_logchunk WHERE execution_id = %s) c
WHERE e.id = %s AND e.log_file = ''
"""


def append(execution_id: int, lines: Sequence[str]) -> None:
    """Adds lines, each with the time; whoever does so at the same moment takes turns. Outside any transaction of states."""
    if not lines:
        return
    now = f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC"
    text = "".join(f"[weops] {now}  {line}\n" for line in lines)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [_APPENDING, execution_id])
        cursor.execute(_APPEND, [text, execution_id])


def finish(execution_id: int) -> None:
    """The execution has ended and nothing more will be added: counts its log and seals it."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [execution_id, execution_id])
    seal(execution_id)
