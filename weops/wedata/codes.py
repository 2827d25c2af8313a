"""WeData's words for ours, and back: task types, cycles, states, priorities, roles."""

from instances.engine.schedule import Cycle
from instances.engine.states import InstanceType, State, TaskStatus
from instances.models.choices import Priority
from weops.projects.models import Role
from weops.wedata.errors import ApiError

# Ids of task types, with ours and the description that the API gives; a type of ours that has none is not shown as another.
TASK_TYPES: dict[int, str] = {
    21: "SQL",
    30: "PYTHON",
    31: "PYSPARK",
    35: "SHELL",
    36: "SPARK_SQL",
    137: "FOR_EACH",
}
TYPE_IDS = {name: number for number, name in TASK_TYPES.items()}
TYPE_WORDS = {21: "jdbcsql", 30: "python", 31: "pyspark", 35: "shell", 36: "sparksql", 137: "For-each"}
# Of the ids that the API knows and WeOps does not run, for a clear answer.
OTHER_TYPES = {
    20: "data synchronisation", 23: "TDSQL-PostgreSQL", 25: "ETL", 26: "OfflineSynchronization", 32: "DLC SQL", 33: "Impala",
    34: "Hive SQL", 38: "Shell Form Mode", 39: "Spark", 40: "TCHouse-P", 41: "Kettle", 42: "TCHouse-X", 43: "TCHouse-X SQL",
    46: "DLC Spark", 47: "TiOne", 48: "Trino", 50: "DLC PySpark", 70: "Hive SQL script", 92: "MapReduce", 130: "Branch Node",
    131: "Merged Node", 132: "Notebook", 133: "SSH", 134: "StarRocks", 138: "Setats SQL", 1000: "custom", 10000: "custom",
}  # fmt: skip

CYCLES: dict[str, Cycle] = {f"{cycle.value}_CYCLE": cycle for cycle in Cycle}
CYCLE_CODES: dict[str, str] = {cycle: name for name, cycle in CYCLES.items()}
# TaskDependDto has letters.
CYCLE_LETTERS: dict[str, str] = {
    Cycle.ONEOFF: "O",
    Cycle.YEAR: "Y",
    Cycle.MONTH: "M",
    Cycle.WEEK: "W",
    Cycle.DAY: "D",
    Cycle.HOUR: "H",
    Cycle.MINUTE: "I",
    Cycle.CRONTAB: "C",
}

# A terminating instance still runs. Several of ours may be one of theirs; the first is what a code is read as.
STATE_CODES: dict[str, str] = {
    State.WAIT_EVENT: "WAIT_EVENT",
    State.WAIT_UPSTREAM: "WAIT_UPSTREAM",
    State.WAIT_RUN: "WAIT_RUN",
    State.RUNNING: "RUNNING",
    State.TERMINATING: "RUNNING",
    State.SKIPPED: "SKIP_RUNNING",
    State.FAILED_RETRY: "FAILED_RETRY",
    State.FAILED: "EXPIRED",
    State.SUCCESS: "COMPLETED",
}
STATE_NAMES = tuple(dict.fromkeys(STATE_CODES.values()))

INSTANCE_TYPES: dict[int, str] = {
    0: InstanceType.SUPPLEMENTARY,
    1: InstanceType.PERIODIC,
    2: InstanceType.NON_PERIODIC,
}
INSTANCE_TYPE_CODES = {kind: number for number, kind in INSTANCE_TYPES.items()} | {InstanceType.TEST: 2}

PRIORITIES: dict[int, int] = {4: Priority.HIGH, 5: Priority.MEDIUM, 6: Priority.LOW}
PRIORITY_CODES = {ours: theirs for theirs, ours in PRIORITIES.items()}

# The ids of the project roles that WeData's documentation lists, from the least to the most.
ROLES: dict[str, str] = {
    "308335260945326080": Role.VIEWER,
    "308335260844662784": Role.OPERATOR,
    "308335260676890624": Role.DEVELOPER,
    "308335260274237440": Role.ADMIN,
}
ROLE_IDS = {role: number for number, role in ROLES.items()}


def status(task_status: str, submitted: bool) -> str:
    """N new, Y scheduling, O paused, F offline."""
    if not submitted:
        return "N"
    return {TaskStatus.SCHEDULING: "Y", TaskStatus.PAUSED: "O"}.get(TaskStatus(task_status), "F")


def states_of(code: str) -> list[str]:
    """Our states that a code stands for."""
    return [state for state, name in STATE_CODES.items() if name == code]


def task_type(number: int, known: "list[str] | tuple[str, ...]", field: str = "TaskTypeId") -> str:
    """Our type of an id, if it is among those that this installation runs. Raises ApiError."""
    name = TASK_TYPES.get(number)
    if name in known:
        return str(name)
    runs = ", ".join(f"{one} ({TYPE_WORDS[one]})" for one, ours in TASK_TYPES.items() if ours in known)
    what = OTHER_TYPES.get(number) or TYPE_WORDS.get(number, "unknown")
    raise ApiError(
        "InvalidParameterValue.ParamIllegalError",
        f"{field}: Task type {number} ({what}) does not run here; {runs} do.",
    )


def type_of(name: str) -> tuple[int | None, str]:
    """Id and description of a type of ours; one that the API does not know has no id, and its own name."""
    number = TYPE_IDS.get(name)
    return number, TYPE_WORDS[number] if number is not None else name.lower()
