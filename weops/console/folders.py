"""Paths of folders, for lists: one query for a whole page instead of one per row and level."""

from collections.abc import Iterable

from django.db import connection
from django.db.models import F, Func, TextField

_PATHS = """
WITH RECURSIVE up (leaf, parent, path, depth) AS (
    SELECT id, parent_id, name::text, 1 FROM projects_folder WHERE id = ANY(%s)
    UNION ALL
    SELECT up.leaf, f.parent_id, f.name || '/' || up.path, up.depth + 1
    FROM up JOIN projects_folder f ON f.id = up.parent WHERE up.depth < 50
)
SELECT DISTINCT ON (leaf) leaf, path FROM up ORDER BY leaf, depth DESC
"""

_PATH_OF = """
(WITH RECURSIVE up (parent, path, depth) AS (
    SELECT parent_id, name::text, 1 FROM projects_folder WHERE id = %(expressions)s
    UNION ALL
    SELECT f.parent_id, f.name || '/' || up.path, up.depth + 1
    FROM up JOIN projects_folder f ON f.id = up.parent WHERE up.depth < 50
)
SELECT coalesce((SELECT path FROM up ORDER BY depth DESC LIMIT 1), ''))
"""
# The path of one row's `folder`, within the row's own query; empty without one.
PATH_OF_FOLDER = Func(F("folder_id"), template=_PATH_OF, output_field=TextField())


def folder_paths(ids: Iterable[int | None]) -> dict[int, str]:
    """{folder id: names from the top folder down, such as `etl/daily`}; no query for no ids."""
    wanted = sorted({folder_id for folder_id in ids if folder_id is not None})
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_PATHS, [wanted])
        return dict(cursor.fetchall())
