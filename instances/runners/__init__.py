"""How one execution's work is really run: child processes and SQL, without database, Django or Celery.

`registry.get(task_type).run(spec, log, control)` is the whole interface; see `base`.
"""
