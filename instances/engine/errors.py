"""The catalogue of error codes: one line, possible causes and what to do, shown in list, detail and API.

Standard library only. A code is stored on executions and instances; its text comes from here.
"""

from typing import Any

from instances.engine.error_base import Error
from instances.engine.error_texts import DIAGNOSED, LIMITS, OF_TYPES

_ALL = (
    Error(
        "EXIT_NONZERO",
        "The task ended with an exit code other than 0.",
        ("The code met an error of its own; the log's last lines tell which.",),
        "Read the end of the log, mend the code or its input, then rerun.",
    ),
    Error(
        "COMMAND_NOT_FOUND",
        "A command of the script was not found (exit code 127).",
        ("The program is not installed on the worker.", "Its folder is not in PATH."),
        "Install the program on every worker of the resource group, or write its full path.",
    ),
    Error(
        "NOT_EXECUTABLE",
        "A command of the script may not be executed (exit code 126).",
        ("The file lacks the execute permission.",),
        "Set the permission, or call it through its interpreter.",
    ),
    Error(
        "KILLED_BY_SIGNAL",
        "A signal ended the task's process.",
        ("The program crashed (SIGSEGV, SIGABRT).", "Somebody killed it on the worker's host."),
        "Look for the signal's number in the execution and for the host's system log.",
    ),
    Error(
        "OUT_OF_MEMORY",
        "The process was killed, most likely for want of memory.",
        ("The worker's host ran out of memory and the kernel chose this process.",),
        "Give the task less data at a time, or a worker with more memory.",
    ),
    Error(
        "RUN_TIMEOUT",
        "The try ran longer than the task's run timeout and was killed.",
        ("More data than usual.", "The task waits for a lock or for another system."),
        "Compare with earlier durations; raise the run timeout if the work really takes longer.",
    ),
    Error(
        "WAIT_TIMEOUT",
        "The instance waited longer than the task's total waiting timeout.",
        ("An upstream instance is late or failed.", "The resource group is full."),
        "Look at what it waited for, then rerun it.",
        retryable=False,
    ),
    Error(
        "EVENT_TIMEOUT",
        "The instance waited longer for an event than its listener allows.",
        (
            "Nobody fired the event for this data time; the message names both.",
            "It was fired under another name, in another format or one cycle off: see the near-miss inbox.",
        ),
        "Fire the event, then rerun the instance; or rerun it and ignore events.",
        retryable=False,
    ),
    Error(
        "UPSTREAM_FAILED",
        "It was not run, since what it waited for has failed.",
        (
            "All upstream instances have ended, one of them failed, and the task is told to fail with them.",
            "It is an inner task of a For-each task, and what it follows in its traversal failed.",
        ),
        "Rerun the upstream instance with its downstream, or the failed traversals of the For-each instance.",
        retryable=False,
    ),
    Error(
        "TERMINATED",
        "Somebody terminated the instance.",
        ("See its operation records.",),
        "Rerun it when the reason is gone.",
        retryable=False,
    ),
    Error(
        "LOST",
        "The worker that ran it went silent and its lease expired.",
        ("The worker or its host was killed.", "The worker could not reach the database for too long."),
        "It is retried as the task's retries allow. Look at the worker's host if it happens again.",
    ),
    Error(
        "LEASE_LOST",
        "The worker could not renew its lease and killed the task's processes.",
        ("The database could not be reached in time.",),
        "It is retried; look at the database's log.",
    ),
    Error(
        "WORKER_SHUTDOWN",
        "The worker was shut down while the task ran; the run was queued again.",
        ("A deployment or restart of workers.",),
        "Nothing: no retry was spent.",
    ),
    Error(
        "SPAWN_FAILED",
        "The process could not be started.",
        ("The interpreter is missing.", "The host has no process or memory left."),
        "Look at the message and at the worker's host.",
    ),
    Error(
        "MISSING_DATA_SOURCE",
        "The SQL task has no usable data source.",
        ("No data source is chosen.", "Its secret is empty, unreadable or of an unknown scheme."),
        "Choose a data source on the task's page, and write its URL anew if needed.",
        retryable=False,
    ),
    Error(
        "DATA_SOURCE_UNREACHABLE",
        "The data source's server does not answer.",
        ("It is down.", "Host, port, name or password of its URL are wrong."),
        "Check the server, then the data source's URL.",
    ),
    Error(
        "SQL_ERROR",
        "The database refused a statement.",
        ("The statement is wrong.", "A table is missing.", "A constraint was violated."),
        "The log names the SQLSTATE and the position; nothing of the transaction was kept.",
    ),
    Error(
        "UNDEFINED_PARAMETER",
        "The code uses a parameter that nobody defines.",
        ("A misspelt ${name}.", "The parameter was removed from the task, workflow or project."),
        "Define the parameter, or write $${ for a literal ${.",
        retryable=False,
    ),
    Error(
        "BAD_EXPRESSION",
        "A time expression of the code or of a parameter cannot be read.",
        ("A wrong format or offset.",),
        "Write it as ${yyyyMMdd-1d}; docs/parameters.md lists the forms.",
        retryable=False,
    ),
    Error(
        "PARAMETER_CYCLE",
        "Parameters refer to one another in a circle.",
        ("a uses b and b uses a.",),
        "Break the circle; the message names it.",
        retryable=False,
    ),
    Error(
        "BAD_OUTPUT",
        "The output parameters of the run cannot be handed over.",
        ("More was written to the file $WEOPS_OUTPUT than parameters may hold.",),
        "Write a file's or a table's name in place of the data, then rerun.",
        retryable=False,
    ),
    Error(
        "UNKNOWN_TASK_TYPE",
        "No runner is registered for the task's type.",
        ("The worker runs an older release.",),
        "Update the worker.",
        retryable=False,
    ),
    Error(
        "BAD_ARRAY",
        "The array of the For-each task cannot be read.",
        ("It is no JSON array, once its parameters are filled in.", "One of its items is too long."),
        'Write it as ["a", "b"], or as ${name} where the parameter holds such a text; the message shows what was found.',
        retryable=False,
    ),
    Error(
        "ARRAY_TOO_LONG",
        "The array of the For-each task has more items than are allowed.",
        ("An upstream task gave more than expected.",),
        "Let each traversal do more: an array of ranges or of file names in place of single values.",
        retryable=False,
    ),
    Error(
        "BRANCH_CONDITION",
        "A condition of the branch cannot be reckoned.",
        (
            "It asks for a parameter that does not exist.",
            "It compares a text with a number, or divides by zero.",
        ),
        "Correct the condition; the message names it and the parameters that there are. number(name) and text(name) convert.",
        retryable=False,
    ),
    Error(
        "BRANCH_UNKNOWN_TASK",
        "The branch names a task that does not wait for it.",
        ("The task was renamed.", "Its dependency on the branch was removed."),
        "Correct the names in the branch, or let the task depend on it; the message lists those that do.",
        retryable=False,
    ),
    Error(
        "TRAVERSALS_FAILED",
        "More traversals of the For-each task failed than it tolerates.",
        ("The inner tasks' logs tell; the list of traversals shows which failed.",),
        "Mend the cause, then rerun the failed traversals only.",
    ),
    Error(
        "UNREADABLE_SECRET",
        "A secret of the project cannot be decrypted.",
        ("Its encryption key was removed from WEOPS_ENCRYPTION_KEYS.",),
        "Add the old key again, or write the secret anew.",
        retryable=False,
    ),
    Error(
        "INTERNAL_ERROR",
        "WeOps itself failed while it ran the task.",
        ("A defect of WeOps, or a dependency that broke; the worker's log has the traceback.",),
        "Rerun it; if it fails again, report the worker's log.",
    ),
)

CATALOGUE: dict[str, Error] = {error.code: error for error in (*_ALL, *LIMITS, *OF_TYPES, *DIAGNOSED)}


def explain(code: str) -> Error | None:
    """The catalogue's entry of `code`; None for no code."""
    if not code:
        return None
    return CATALOGUE.get(code) or Error(code, f"Error {code}.", (), "See the log.")


def told(code: str, message: str = "") -> dict[str, Any] | None:
    """A stored error as clients are told it: {code, title, message, causes, advice, retryable}; None for no code."""
    error = explain(code)
    if error is None:
        return None
    return {
        "code": error.code,
        "title": error.title,
        "message": message,
        "causes": list(error.causes),
        "advice": error.advice,
        "retryable": error.retryable,
    }


def retryable(code: str) -> bool:
    entry = CATALOGUE.get(code)
    return entry is None or entry.retryable
