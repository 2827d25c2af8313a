"""What goes wrong, under the error codes of WeData's API. Messages say what to do."""

# What somebody sent is repeated in messages, however long it was.
MOST_SAID = 600


class ApiError(Exception):
    """An answer that is an error: {"Error": {"Code": code, "Message": message}}."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message if len(message) <= MOST_SAID else f"{message[:MOST_SAID]} ...")
        self.code = code

    @property
    def message(self) -> str:
        return str(self)


def bad_value(field: str, message: str) -> ApiError:
    """A field (by its path, such as `Tasks.0.Name`) whose value cannot be."""
    return ApiError("InvalidParameterValue", f"{field}: {message}")


def missing(field: str) -> ApiError:
    return ApiError("MissingParameter", f"{field} is required.")


def unknown(field: str, known: list[str]) -> ApiError:
    return ApiError("UnknownParameter", f"There is no field {field}; there are {', '.join(known)}.")


def unsupported(field: str, message: str) -> ApiError:
    """A field that WeData's API has, with a value that WeOps can do nothing truthful about."""
    return ApiError("UnsupportedOperation", f"{field}: {message}")


def not_in_project(project_id: object) -> ApiError:
    """For those who see nothing of a project, whether or not it exists."""
    return ApiError(
        "UnauthorizedOperation.UserNotInProject",
        f"You are not a member of project {project_id}, or there is no such project.",
    )


def no_right(right: str, project: object) -> ApiError:
    return ApiError("UnauthorizedOperation", f"You do not have the right to {right} in project {project}.")


def not_found(what: str, key: object) -> ApiError:
    return ApiError("ResourceNotFound", f"There is no {what} {key} in this project.")


def duplicate(message: str) -> ApiError:
    return ApiError("InvalidParameter.DuplicateName", message)


def refused(message: str) -> ApiError:
    """What cannot be done now, because of what there is."""
    return ApiError("FailedOperation", message)
