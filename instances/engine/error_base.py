"""What an entry of the catalogue of errors says (see `errors`). Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Error:
    """`title`: one line. Errors that another try cannot mend are not `retryable`."""

    code: str
    title: str
    causes: tuple[str, ...]
    advice: str
    retryable: bool = True
