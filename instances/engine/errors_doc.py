"""docs/errors.md, written from the catalogue of errors and the rules of the diagnosis."""

from instances.engine.diagnosis import RULES
from instances.engine.error_base import Error
from instances.engine.errors import CATALOGUE


def _section(error: Error) -> list[str]:
    causes = [f"- {cause}" for cause in error.causes]
    again = "" if error.retryable else " It is not tried again: another try would end the same."
    return [
        f"## {error.code}",
        "",
        f"{error.title}{again}",
        "",
        *causes,
        "",
        f"*What to do:* {error.advice}",
        "",
    ]


def document() -> str:
    """The whole page, as Markdown."""
    found = sorted({rule.code for rule in RULES})
    lines = [
        "# Errors, their causes, and what to do",
        "",
        "Written from `instances/engine/errors.py` by `python manage.py error_catalogue > docs/errors.md`; a test compares the",
        "two. An execution that failed has one of these codes and a line that says what happened: in the list when the state is",
        "pointed at, on the instance's page, at the end of its log, and in the API.",
        "",
        "An exit code says that something failed, seldom what. So when a try fails, the end of its log is read once for what is",
        "known to make tasks fail (`instances/engine/diagnosis.py`): "
        + ", ".join(f"`{code}`" for code in found)
        + ".",
        "The line then is the one of the log, with the line of the code where there is a Python traceback.",
        "",
    ]
    for code in sorted(CATALOGUE):
        lines += _section(CATALOGUE[code])
    return "\n".join(lines)
