"""The catalogue of error codes: one line, possible causes and what to do, shown in list, detail and API.

Standard library only. A code is stored on executions and instances; its text comes from here.
"""

from dataclasses import replace
from typing import Any

from instances.engine.error_base import Error
from instances.engine.error_texts import DIAGNOSED, LIMITS, OF_TYPES
from instances.language import gettext
from instances.language import gettext_noop as _

_ALL = (
    Error(
        "EXIT_NONZERO",
        _("The task ended with an exit code other than 0."),
        (_("The code met an error of its own; the log's last lines tell which."),),
        _("Read the end of the log, mend the code or its input, then rerun."),
    ),
    Error(
        "COMMAND_NOT_FOUND",
        _("A command of the script was not found (exit code 127)."),
        (_("The program is not installed on the worker."), _("Its folder is not in PATH.")),
        _("Install the program on every worker of the resource group, or write its full path."),
    ),
    Error(
        "NOT_EXECUTABLE",
        _("A command of the script may not be executed (exit code 126)."),
        (_("The file lacks the execute permission."),),
        _("Set the permission, or call it through its interpreter."),
    ),
    Error(
        "KILLED_BY_SIGNAL",
        _("A signal ended the task's process."),
        (_("The program crashed (SIGSEGV, SIGABRT)."), _("Somebody killed it on the worker's host.")),
        _("Look for the signal's number in the execution and for the host's system log."),
    ),
    Error(
        "OUT_OF_MEMORY",
        _("The process was killed, most likely for want of memory."),
        (
            _(
                "It met the memory limit of the task or of its resource group; the message says so, or MemoryError."
            ),
            _("The worker's host ran out of memory and the kernel chose this process."),
            _("Somebody on the host, or the task itself, sent it SIGKILL."),
        ),
        _(
            "Give the task less data at a time; else raise the limit of the task, or of its resource group, or give it a worker "
            "with more memory."
        ),
    ),
    Error(
        "RUN_TIMEOUT",
        _("The try ran longer than the task's run timeout and was killed."),
        (_("More data than usual."), _("The task waits for a lock or for another system.")),
        _("Compare with earlier durations; raise the run timeout if the work really takes longer."),
    ),
    Error(
        "WAIT_TIMEOUT",
        _("The instance waited longer than the task's total waiting timeout."),
        (_("An upstream instance is late or failed."), _("The resource group is full.")),
        _("Look at what it waited for, then rerun it."),
        retryable=False,
    ),
    Error(
        "EVENT_TIMEOUT",
        _("The instance waited longer for an event than its listener allows."),
        (
            _("Nobody fired the event for this data time; the message names both."),
            _(
                "It was fired under another name, in another format or one cycle off: see the near-miss inbox."
            ),
        ),
        _("Fire the event, then rerun the instance; or rerun it and ignore events."),
        retryable=False,
    ),
    Error(
        "UPSTREAM_FAILED",
        _("It was not run, since what it waited for has failed."),
        (
            _(
                "All upstream instances have ended, one of them failed, and the task is told to fail with them."
            ),
            _("It is an inner task of a For-each task, and what it follows in its traversal failed."),
        ),
        _(
            "Rerun the upstream instance with its downstream, or the failed traversals of the For-each instance."
        ),
        retryable=False,
    ),
    Error(
        "TERMINATED",
        _("Somebody terminated the instance."),
        (_("See its operation records."),),
        _("Rerun it when the reason is gone."),
        retryable=False,
    ),
    Error(
        "LOST",
        _("The worker that ran it went silent and its lease expired."),
        (_("The worker or its host was killed."), _("The worker could not reach the database for too long.")),
        _("It is retried as the task's retries allow. Look at the worker's host if it happens again."),
    ),
    Error(
        "LEASE_LOST",
        _("The worker could not renew its lease and killed the task's processes."),
        (_("The database could not be reached in time."),),
        _("It is retried; look at the database's log."),
    ),
    Error(
        "WORKER_SHUTDOWN",
        _("The worker was shut down while the task ran; the run was queued again."),
        (_("A deployment or restart of workers."),),
        _("Nothing: no retry was spent."),
    ),
    Error(
        "SPAWN_FAILED",
        _("The process could not be started."),
        (_("The interpreter is missing."), _("The host has no process or memory left.")),
        _("Look at the message and at the worker's host."),
    ),
    Error(
        "MISSING_DATA_SOURCE",
        _("The SQL task has no usable data source."),
        (_("No data source is chosen."), _("Its secret is empty, unreadable or of an unknown scheme.")),
        _("Choose a data source on the task's page, and write its URL anew if needed."),
        retryable=False,
    ),
    Error(
        "MISSING_DRIVER",
        _("The worker has no driver for the database of the data source."),
        (
            _("The driver is a Python package that was never installed where the worker runs."),
            _("The scheme of the data source's URL is misspelt."),
        ),
        _(
            "Install what the message names on every worker of the resource group and restart them; or correct the scheme of the "
            "URL."
        ),
    ),
    Error(
        "DATA_SOURCE_UNREACHABLE",
        _("The data source's server does not answer."),
        (_("It is down."), _("Host, port, name or password of its URL are wrong.")),
        _("Check the server, then the data source's URL."),
    ),
    Error(
        "SQL_ERROR",
        _("The database refused a statement."),
        (_("The statement is wrong."), _("A table is missing."), _("A constraint was violated.")),
        _("The log names the SQLSTATE and the position; nothing of the transaction was kept."),
    ),
    Error(
        "UNDEFINED_PARAMETER",
        _("The code uses a parameter that nobody defines."),
        (
            _("A misspelt ${name}."),
            _("The parameter was removed from the task, workflow or project."),
            _("An upstream task declares it as an output parameter, and its run did not set it."),
        ),
        _("Define the parameter, or write $${ for a literal ${."),
        retryable=False,
    ),
    Error(
        "BAD_EXPRESSION",
        _("A time expression of the code or of a parameter cannot be read."),
        (_("A wrong format or offset."),),
        _("Write it as ${yyyyMMdd-1d}; docs/parameters.md lists the forms."),
        retryable=False,
    ),
    Error(
        "PARAMETER_CYCLE",
        _("Parameters refer to one another in a circle."),
        (_("a uses b and b uses a."),),
        _("Break the circle; the message names it."),
        retryable=False,
    ),
    Error(
        "BAD_OUTPUT",
        _("The output parameters of the run cannot be handed over."),
        (_("More was written to the file $WEOPS_OUTPUT than parameters may hold."),),
        _("Write a file's or a table's name in place of the data, then rerun."),
        retryable=False,
    ),
    Error(
        "UNKNOWN_TASK_TYPE",
        _("No runner is registered for the task's type."),
        (_("The worker runs an older release."),),
        _("Update the worker."),
        retryable=False,
    ),
    Error(
        "BAD_ARRAY",
        _("The array of the For-each task cannot be read."),
        (_("It is no JSON array, once its parameters are filled in."), _("One of its items is too long.")),
        _(
            'Write it as ["a", "b"], or as ${name} where the parameter holds such a text; the message shows what was found.'
        ),
        retryable=False,
    ),
    Error(
        "ARRAY_TOO_LONG",
        _("The array of the For-each task has more items than are allowed."),
        (_("An upstream task gave more than expected."),),
        _("Let each traversal do more: an array of ranges or of file names in place of single values."),
        retryable=False,
    ),
    Error(
        "BRANCH_CONDITION",
        _("A condition of the branch cannot be reckoned."),
        (
            _("It asks for a parameter that does not exist."),
            _("It compares a text with a number, or divides by zero."),
        ),
        _(
            "Correct the condition; the message names it and the parameters that there are. number(name) and text(name) convert."
        ),
        retryable=False,
    ),
    Error(
        "BRANCH_UNKNOWN_TASK",
        _("The branch names a task that does not wait for it."),
        (_("The task was renamed."), _("Its dependency on the branch was removed.")),
        _("Correct the names in the branch, or let the task depend on it; the message lists those that do."),
        retryable=False,
    ),
    Error(
        "TRAVERSALS_FAILED",
        _("More traversals of the For-each task failed than it tolerates."),
        (_("The inner tasks' logs tell; the list of traversals shows which failed."),),
        _("Mend the cause, then rerun the failed traversals only."),
    ),
    Error(
        "UNREADABLE_SECRET",
        _("A secret of the project cannot be decrypted."),
        (_("Its encryption key was removed from WEOPS_ENCRYPTION_KEYS."),),
        _("Add the old key again, or write the secret anew."),
        retryable=False,
    ),
    Error(
        "INTERNAL_ERROR",
        _("WeOps itself failed while it ran the task."),
        (_("A defect of WeOps, or a dependency that broke; the worker's log has the traceback."),),
        _("Rerun it; if it fails again, report the worker's log."),
    ),
)

CATALOGUE: dict[str, Error] = {error.code: error for error in (*_ALL, *LIMITS, *OF_TYPES, *DIAGNOSED)}


def entry(code: str) -> Error | None:
    """The catalogue's entry of `code` in English, for what is stored; None for no code."""
    if not code:
        return None
    return CATALOGUE.get(code) or Error(code, f"Error {code}.", (), _("See the log."))


def explain(code: str) -> Error | None:
    """The catalogue's entry of `code` in the language of who reads it; None for no code."""
    found = entry(code)
    if found is None:
        return None
    return replace(
        found,
        title=gettext(found.title) if code in CATALOGUE else gettext("Error %(code)s.") % {"code": code},
        causes=tuple(gettext(cause) for cause in found.causes),
        advice=gettext(found.advice),
    )


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
    known = CATALOGUE.get(code)
    return known is None or known.retryable
