"""The environment of a child, built from nothing: no variable of the worker's gets in but PATH."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from instances.runners.base import RunSpec

RUN_TOKEN = "WEOPS_RUN_TOKEN"  # noqa: S105 - the name of a variable
PARAMETER_PREFIX = "WEOPS_PARAM_"
DATA_SOURCE_VARIABLE = "WEOPS_DATA_SOURCE_URL"


def child_environment(
    spec: RunSpec, directory: Path, run_token: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Later ones win, so a secret named PATH or WEOPS_EXECUTION_ID changes nothing."""
    environment = {
        **extra,
        **spec.secrets,
        **{parameter_variable(name): value for name, value in spec.parameters.items()},
        **spec.context,
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        "WEOPS_EXECUTION_ID": str(spec.execution_id),
        RUN_TOKEN: run_token,
    }
    if spec.data_source_url:
        environment[DATA_SOURCE_VARIABLE] = spec.data_source_url
    return environment


def parameter_variable(name: str) -> str:
    """WEOPS_PARAM_<name as written>; what a variable's name cannot hold becomes an underscore."""
    return PARAMETER_PREFIX + re.sub(r"[^0-9A-Za-z_]", "_", name)


def secret_values(spec: RunSpec) -> Iterator[str]:
    """Everything that must not be read in a log: the secrets, the data source's URL and its password."""
    yield from spec.secrets.values()
    if spec.data_source_url:
        yield spec.data_source_url
        yield from url_passwords(spec.data_source_url)


def url_passwords(url: str) -> Iterator[str]:
    """The password of a URL as written and as meant, also when it stands in the query (?password=...)."""
    try:
        parts = urlsplit(url)
        found = [parts.password or "", *re.findall(r"(?:^|&)(?:ssl)?password=([^&]*)", parts.query)]
    except ValueError:
        found = re.findall(r"://[^/@]*?:(.*)@", url)
    for written in found:
        if written:
            yield written
            yield unquote(written)
