"""Errors of the services under the names that the API has for their columns."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError

from instances.operations import OptionError
from weops.projects.defining import InUse
from weops.wedata.errors import ApiError, bad_value, duplicate

_TWICE = {"unique", "unique_together"}


@contextmanager
def named(names: Mapping[str, str], whole: str = "") -> Iterator[None]:
    """What goes wrong with a column or an option inside is said of the field that `names` gives for it.

    `whole`: the field that stands for what is wrong with the row as a whole, such as a name that is taken.
    """
    try:
        yield
    except OptionError as error:
        raise bad_value(names.get(error.field, error.field), str(error)) from error
    except InUse as error:
        raise ApiError("ResourceInUse", str(error)) from error
    except PermissionDenied as error:
        raise ApiError("UnauthorizedOperation", str(error)) from error
    except ValidationError as error:
        raise _said(error, names, whole) from error


def _said(error: ValidationError, names: Mapping[str, str], whole: str) -> ApiError:
    if not hasattr(error, "error_dict"):
        return bad_value(whole or "Request", " ".join(error.messages))
    column, found = next(iter(error.error_dict.items()))
    field = (whole or "Request") if column == NON_FIELD_ERRORS else names.get(column, column)
    message = " ".join(one for each in found for one in each.messages)
    if any(each.code in _TWICE for each in found):
        return duplicate(f"{field}: {message}")
    return bad_value(field, message)
