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

DIAGNOSED: tuple[Error, ...] = ()
