"""Texts of the errors of limits, of single task types, and of what the end of a failed run's log told."""

from instances.engine.error_base import Error

LIMITS = (
    Error(
        "CPU_TIME",
        "The task used more CPU time than it may.",
        ("More data than usual.", "An endless loop."),
        "Compare with earlier runs; raise the limit of the task, or of its resource group, if the work needs it.",
    ),
    Error(
        "OUTPUT_LIMIT",
        "The task printed more than it may.",
        ("Debug output was left on.", "An error is printed again and again."),
        "Look at what it prints; write data to a file or a table and not to the log.",
    ),
)

OF_TYPES = (
    Error(
        "SPARK_UNAVAILABLE",
        "This worker cannot start Spark.",
        ("No Java is installed on it.", "Neither pyspark nor a spark-submit is."),
        "Install what the message names on the workers of the resource group; docs/task-types.md tells how.",
    ),
    Error(
        "BAD_APPLICATION_PARAMETER",
        "An application parameter of the rerun is not allowed.",
        ("It is none of the sizes and switches that may be set for one run.",),
        "Rerun without it; who may edit the task can set any configuration there.",
        retryable=False,
    ),
    Error(
        "SPARK_SQL_ERROR",
        "Spark refused a statement, or failed while it ran.",
        ("The statement is wrong.", "A table or column is missing.", "The data cannot be read or converted."),
        "The message names the statement and Spark's own error class; the driver's log has the rest.",
    ),
    Error(
        "HTTP_STATUS",
        "The server answered with a status that the task does not expect.",
        (
            "4xx: the request is wrong, or its secret has expired.",
            "5xx: the server has a problem of its own.",
        ),
        "The log shows the answer. If the status is fine, add it to the expected ones.",
    ),
    Error(
        "HTTP_CHECK_FAILED",
        "The answer did not pass a check of the task.",
        ("The other side is not ready yet.", "Its answer has another form than before."),
        "The message names the check and what was found; the log shows the answer.",
    ),
    Error(
        "HTTP_TIMEOUT",
        "The server did not answer in time.",
        ("It is overloaded.", "A firewall drops what is sent."),
        "Ask it by hand from the worker's host; raise the setting timeout if it needs longer.",
    ),
    Error(
        "HTTP_UNREACHABLE",
        "The server could not be reached.",
        ("Its name cannot be resolved.", "Nothing listens there.", "Its certificate cannot be trusted."),
        "The message tells which; check the address, and the network of the worker's host.",
    ),
    Error(
        "HTTP_ADDRESS_REFUSED",
        "The address is private, and this deployment does not let HTTP tasks reach it.",
        (
            "The name resolves to a private, loopback, link-local or metadata address.",
            "A redirect leads to one.",
        ),
        "If that is meant, whoever runs WeOps adds the network to WEOPS_ALLOWED_NETWORKS of the workers.",
        retryable=False,
    ),
    Error(
        "HTTP_TOO_LARGE",
        "The answer is larger than the task allows.",
        ("The address gives more than it used to.",),
        "Ask for less at a time, or raise the setting most_mb.",
        retryable=False,
    ),
    Error(
        "HTTP_BAD_REQUEST",
        "The request cannot be made as it is defined.",
        (
            "A parameter made the address or a header unusable.",
            "A header names a secret that the task does not have.",
        ),
        "The message names it; mend the task's settings.",
        retryable=False,
    ),
)

# Found by `diagnosis` in the end of a failed try's log.
DIAGNOSED: tuple[Error, ...] = (
    Error(
        "PYTHON_EXCEPTION",
        "The program ended with an exception.",
        ("An error in the code, or data that it does not expect.",),
        "The message names the exception and the line of the code; the log has the whole traceback.",
    ),
    Error(
        "MODULE_NOT_FOUND",
        "A Python module is missing on the worker.",
        ("The package is not installed for the interpreter that runs the task.", "A misspelt name."),
        "Install it on every worker of the resource group, or choose another interpreter in the setting python.",
    ),
    Error(
        "DISK_FULL",
        "There was no space left on a disk.",
        ("The worker's temporary folder is full.", "The database's disk, or a quota, is."),
        "Free space on the host that the message comes from; WEOPS_WORK_ROOT moves working directories.",
    ),
    Error(
        "TOO_MANY_FILES",
        "The task had too many files or connections open.",
        ("They are not closed after use.", "The limit of open files is lower than the work needs."),
        "Close what is not needed; else raise the limit of the task, or of its resource group.",
    ),
    Error(
        "AUTHENTICATION_FAILED",
        "Another system refused the name, password or key.",
        ("The password was changed there.", "The secret holds an old value.", "The key has expired."),
        "Write the secret anew, then rerun.",
    ),
    Error(
        "CERTIFICATE_REFUSED",
        "A certificate of another system could not be trusted.",
        ("It has expired.", "It was made by an authority that the worker does not know."),
        "Renew it there, or install the authority's certificate on the workers.",
    ),
    Error(
        "HOST_UNKNOWN",
        "The name of a host could not be resolved.",
        ("A misspelt name.", "The worker's name server does not know it, or did not answer."),
        "Resolve the name by hand on the worker's host.",
    ),
    Error(
        "CONNECTION_REFUSED",
        "Nothing listens at an address that the task connects to.",
        ("The server is down, or being restarted.", "The port is wrong.", "A firewall refuses."),
        "Check the server; the log's last lines name the address.",
    ),
    Error(
        "CONNECTION_TIMED_OUT",
        "A server did not answer when the task connected.",
        ("It is overloaded or gone.", "A firewall drops what is sent."),
        "Try the connection by hand from the worker's host.",
    ),
    Error(
        "TABLE_NOT_FOUND",
        "A table or view does not exist.",
        (
            "It was renamed or dropped.",
            "Whoever makes it has not run yet: a dependency is missing.",
            "Another schema.",
        ),
        "The message names it; check the upstream tasks, then rerun.",
    ),
    Error(
        "COLUMN_NOT_FOUND",
        "A column does not exist.",
        ("The table was changed.", "A misspelt name, or a text in double quotes."),
        "The message names it; compare it with the table as it is now.",
    ),
    Error(
        "DUPLICATE_KEY",
        "A row exists already.",
        ("The task ran before and its work was kept.", "The input holds a row twice."),
        "Make the task replace what it wrote for its data time before it writes again.",
    ),
    Error(
        "CONSTRAINT_VIOLATED",
        "A row breaks a rule of its table.",
        ("The input has a value that must not be empty, or refers to a row that is not there.",),
        "The message names the constraint; look for the row in the input.",
    ),
    Error(
        "SQL_SYNTAX",
        "A statement cannot be read.",
        ("A misspelt word, a comma too many.", "A parameter was filled in with something unexpected."),
        "The message gives the place; the page of the instance shows the code as it ran.",
    ),
    Error(
        "DEADLOCK",
        "Two transactions waited for one another, and the database ended this one.",
        ("Tasks change the same rows in different orders.",),
        "A retry mostly succeeds; if it happens often, let the tasks follow one another.",
    ),
    Error(
        "LOCKED",
        "Something that the task needs is locked by somebody else.",
        ("Another task or program writes to the same table or file.",),
        "Find who holds it; let the tasks follow one another by a dependency.",
    ),
    Error(
        "STATEMENT_TIMEOUT",
        "The database ended a statement that ran too long.",
        ("The role or the server has a statement_timeout.", "Somebody cancelled it."),
        "Compare with earlier durations; ask for less at a time, or have the limit raised.",
    ),
    Error(
        "NO_RIGHTS",
        "The task may not do what it tried.",
        ("Its user has no right to the table, file or folder.",),
        "Have the right granted, or use a data source or secret of a user that has it.",
    ),
    Error(
        "FILE_NOT_FOUND",
        "A file or folder does not exist.",
        (
            "Whoever makes it has not run yet: a dependency is missing.",
            "It lies on another host than this worker's.",
        ),
        "The message names it; check the upstream tasks, and on which workers the group runs.",
    ),
    Error(
        "SPARK_ANALYSIS",
        "Spark cannot make a plan of a query.",
        ("Types do not fit, a function or a field is missing.",),
        "The message begins with Spark's error class; its documentation lists all of them.",
    ),
)
