"""Texts of the errors of limits, of single task types, and of what the end of a failed run's log told."""

from instances.engine.error_base import Error
from instances.language import gettext_noop as _

LIMITS = (
    Error(
        "CPU_TIME",
        _("The task used more CPU time than it may."),
        (_("More data than usual."), _("An endless loop.")),
        _(
            "Compare with earlier runs; raise the limit of the task, or of its resource group, if the work needs it."
        ),
    ),
    Error(
        "OUTPUT_LIMIT",
        _("The task printed more than it may."),
        (_("Debug output was left on."), _("An error is printed again and again.")),
        _("Look at what it prints; write data to a file or a table and not to the log."),
    ),
)

OF_TYPES = (
    Error(
        "SPARK_UNAVAILABLE",
        _("This worker cannot start Spark."),
        (_("No Java is installed on it."), _("Neither pyspark nor a spark-submit is.")),
        _(
            "Install what the message names on the workers of the resource group; docs/task-types.md tells how."
        ),
    ),
    Error(
        "BAD_APPLICATION_PARAMETER",
        _("An application parameter of the rerun is not allowed."),
        (_("It is none of the sizes and switches that may be set for one run."),),
        _("Rerun without it; who may edit the task can set any configuration there."),
        retryable=False,
    ),
    Error(
        "SPARK_SQL_ERROR",
        _("Spark refused a statement, or failed while it ran."),
        (
            _("The statement is wrong."),
            _("A table or column is missing."),
            _("The data cannot be read or converted."),
        ),
        _("The message names the statement and Spark's own error class; the driver's log has the rest."),
    ),
    Error(
        "HTTP_STATUS",
        _("The server answered with a status that the task does not expect."),
        (
            _("4xx: the request is wrong, or its secret has expired."),
            _("5xx: the server has a problem of its own."),
        ),
        _("The log shows the answer. If the status is fine, add it to the expected ones."),
    ),
    Error(
        "HTTP_CHECK_FAILED",
        _("The answer did not pass a check of the task."),
        (_("The other side is not ready yet."), _("Its answer has another form than before.")),
        _("The message names the check and what was found; the log shows the answer."),
    ),
    Error(
        "HTTP_TIMEOUT",
        _("The server did not answer in time."),
        (_("It is overloaded."), _("A firewall drops what is sent.")),
        _("Ask it by hand from the worker's host; raise the setting timeout if it needs longer."),
    ),
    Error(
        "HTTP_UNREACHABLE",
        _("The server could not be reached."),
        (
            _("Its name cannot be resolved."),
            _("Nothing listens there."),
            _("Its certificate cannot be trusted."),
        ),
        _("The message tells which; check the address, and the network of the worker's host."),
    ),
    Error(
        "HTTP_ADDRESS_REFUSED",
        _("The address is private, and this deployment does not let HTTP tasks reach it."),
        (
            _("The name resolves to a private, loopback, link-local or metadata address."),
            _("A redirect leads to one."),
        ),
        _("If that is meant, whoever runs WeOps adds the network to WEOPS_ALLOWED_NETWORKS of the workers."),
        retryable=False,
    ),
    Error(
        "HTTP_TOO_LARGE",
        _("The answer is larger than the task allows."),
        (_("The address gives more than it used to."),),
        _("Ask for less at a time, or raise the setting most_mb."),
        retryable=False,
    ),
    Error(
        "HTTP_BAD_REQUEST",
        _("The request cannot be made as it is defined."),
        (
            _("A parameter made the address or a header unusable."),
            _("A header names a secret that the task does not have."),
        ),
        _("The message names it; mend the task's settings."),
        retryable=False,
    ),
)

# Found by `diagnosis` in the end of a failed try's log.
DIAGNOSED: tuple[Error, ...] = (
    Error(
        "PYTHON_EXCEPTION",
        _("The program ended with an exception."),
        (_("An error in the code, or data that it does not expect."),),
        _("The message names the exception and the line of the code; the log has the whole traceback."),
    ),
    Error(
        "MODULE_NOT_FOUND",
        _("A Python module is missing on the worker."),
        (_("The package is not installed for the interpreter that runs the task."), _("A misspelt name.")),
        _(
            "Install it on every worker of the resource group, or choose another interpreter in the setting python."
        ),
    ),
    Error(
        "DISK_FULL",
        _("There was no space left on a disk."),
        (_("The worker's temporary folder is full."), _("The database's disk, or a quota, is.")),
        _("Free space on the host that the message comes from; WEOPS_WORK_ROOT moves working directories."),
    ),
    Error(
        "TOO_MANY_FILES",
        _("The task had too many files or connections open."),
        (_("They are not closed after use."), _("The limit of open files is lower than the work needs.")),
        _("Close what is not needed; else raise the limit of the task, or of its resource group."),
    ),
    Error(
        "AUTHENTICATION_FAILED",
        _("Another system refused the name, password or key."),
        (
            _("The password was changed there."),
            _("The secret holds an old value."),
            _("The key has expired."),
        ),
        _("Write the secret anew, then rerun."),
    ),
    Error(
        "CERTIFICATE_REFUSED",
        _("A certificate of another system could not be trusted."),
        (_("It has expired."), _("It was made by an authority that the worker does not know.")),
        _("Renew it there, or install the authority's certificate on the workers."),
    ),
    Error(
        "HOST_UNKNOWN",
        _("The name of a host could not be resolved."),
        (_("A misspelt name."), _("The worker's name server does not know it, or did not answer.")),
        _("Resolve the name by hand on the worker's host."),
    ),
    Error(
        "CONNECTION_REFUSED",
        _("Nothing listens at an address that the task connects to."),
        (_("The server is down, or being restarted."), _("The port is wrong."), _("A firewall refuses.")),
        _("Check the server; the log's last lines name the address."),
    ),
    Error(
        "CONNECTION_TIMED_OUT",
        _("A server did not answer when the task connected."),
        (_("It is overloaded or gone."), _("A firewall drops what is sent.")),
        _("Try the connection by hand from the worker's host."),
    ),
    Error(
        "TABLE_NOT_FOUND",
        _("A table or view does not exist."),
        (
            _("It was renamed or dropped."),
            _("Whoever makes it has not run yet: a dependency is missing."),
            _("Another schema."),
        ),
        _("The message names it; check the upstream tasks, then rerun."),
    ),
    Error(
        "COLUMN_NOT_FOUND",
        _("A column does not exist."),
        (_("The table was changed."), _("A misspelt name, or a text in double quotes.")),
        _("The message names it; compare it with the table as it is now."),
    ),
    Error(
        "DUPLICATE_KEY",
        _("A row exists already."),
        (_("The task ran before and its work was kept."), _("The input holds a row twice.")),
        _("Make the task replace what it wrote for its data time before it writes again."),
    ),
    Error(
        "CONSTRAINT_VIOLATED",
        _("A row breaks a rule of its table."),
        (_("The input has a value that must not be empty, or refers to a row that is not there."),),
        _("The message names the constraint; look for the row in the input."),
    ),
    Error(
        "SQL_SYNTAX",
        _("A statement cannot be read."),
        (_("A misspelt word, a comma too many."), _("A parameter was filled in with something unexpected.")),
        _("The message gives the place; the page of the instance shows the code as it ran."),
    ),
    Error(
        "DEADLOCK",
        _("Two transactions waited for one another, and the database ended this one."),
        (_("Tasks change the same rows in different orders."),),
        _("A retry mostly succeeds; if it happens often, let the tasks follow one another."),
    ),
    Error(
        "LOCKED",
        _("Something that the task needs is locked by somebody else."),
        (_("Another task or program writes to the same table or file."),),
        _("Find who holds it; let the tasks follow one another by a dependency."),
    ),
    Error(
        "STATEMENT_TIMEOUT",
        _("The database ended a statement that ran too long."),
        (_("The role or the server has a statement_timeout."), _("Somebody cancelled it.")),
        _("Compare with earlier durations; ask for less at a time, or have the limit raised."),
    ),
    Error(
        "NO_RIGHTS",
        _("The task may not do what it tried."),
        (_("Its user has no right to the table, file or folder."),),
        _("Have the right granted, or use a data source or secret of a user that has it."),
    ),
    Error(
        "FILE_NOT_FOUND",
        _("A file or folder does not exist."),
        (
            _("Whoever makes it has not run yet: a dependency is missing."),
            _("It lies on another host than this worker's."),
        ),
        _("The message names it; check the upstream tasks, and on which workers the group runs."),
    ),
    Error(
        "SPARK_ANALYSIS",
        _("Spark cannot make a plan of a query."),
        (_("Types do not fit, a function or a field is missing."),),
        _("The message begins with Spark's error class; its documentation lists all of them."),
    ),
)
