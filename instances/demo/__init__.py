"""The demo: a year of New York's departures and weather, as tasks that load and query a real database.

`data` finds and delivers the csv files, `warehouse` is the database beside WeOps's own, `tasks` and `load` define
the project, `expected` works out from the csv files alone what the warehouse must hold at the end, `stack` and
`watch` run it unattended for `manage.py demo`. docs/demo.md tells the whole.
"""


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do about it."""
