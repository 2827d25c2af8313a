"""Sends one text to one address through Apprise; says in one line, without any secret, why it could not.

The library is imported on first use: no other process needs it.
"""

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.utils.translation import gettext as _

from weops.addresses import Guard, guarded, networks
from weops.alarms.kinds import ChannelKind

if TYPE_CHECKING:
    from apprise import NotifyBase

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
# All of one sending; then its connections are cut.
MOST_SECONDS = 30.0
# Services of Apprise that only ever talk to a server; others of it write to the machine they run on.
OTHER_SERVICES = frozenset(
    [
        "bark",
        "barks",
        "discord",
        "form",
        "forms",
        "gchat",
        "gotify",
        "gotifys",
        "lark",
        "matrix",
        "matrixs",
        "mmost",
        "mmosts",
        "ntfy",
        "ntfys",
        "opsgenie",
        "pagerduty",
        "pover",
        "rocket",
        "rockets",
        "schan",
        "spugpush",
        "tgram",
        "wxteams",
        "xml",
        "xmls",
        "zulip",
    ]
)
_DINGTALK = re.compile(r"https://oapi\.dingtalk\.com/robot/send\?access_token=([A-Za-z0-9]+)\Z")
_FEISHU = re.compile(r"https://open\.feishu\.cn/open-apis/bot/v2/hook/([A-Za-z0-9-]+)/?\Z")
_EXAMPLES = {
    ChannelKind.WEBHOOK: "https://example.com/hook",
    ChannelKind.WECOM: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=...",
    ChannelKind.DINGTALK: "https://oapi.dingtalk.com/robot/send?access_token=...",
    ChannelKind.FEISHU: "https://open.feishu.cn/open-apis/bot/v2/hook/...",
    ChannelKind.SLACK: "https://hooks.slack.com/services/T.../B.../...",
    ChannelKind.TEAMS: "https://....logic.azure.com/workflows/.../triggers/manual/paths/invoke?...",
    ChannelKind.OTHER: "ntfys://host/topic",
}
_SCHEMES = {
    ChannelKind.WEBHOOK: ("json", "jsons"),
    ChannelKind.WECOM: ("wecombot",),
    ChannelKind.DINGTALK: ("dingtalk",),
    ChannelKind.FEISHU: ("feishu",),
    ChannelKind.SLACK: ("slack",),
    ChannelKind.TEAMS: ("workflow", "workflows"),
    ChannelKind.OTHER: tuple(sorted(OTHER_SERVICES)),
}


@dataclass(frozen=True, slots=True)
class Text:
    """What is sent. `facts` go along where a receiver can read them (JSON webhooks); `dedup_id` is the delivery's."""

    title: str
    body: str
    dedup_id: str = ""
    urgent: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class NotSent(Exception):
    """The message says why, in one line without secrets. `final`: another try would not help."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def shown(kind: str, address: str) -> str:
    """What may be shown of an address. Raises ValueError that says how to write it when Apprise cannot use it."""
    plugin = _plugin(ChannelKind(kind), address)
    if kind == ChannelKind.WEBHOOK:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/…"
    return str(plugin.service_name)


def send_to_channel(kind: str, address: str, text: Text) -> None:
    """Raises NotSent."""
    try:
        plugin = _plugin(ChannelKind(kind), address)
    except ValueError as error:
        raise NotSent(str(error), final=True) from None
    headers, extras = getattr(plugin, "headers", None), getattr(plugin, "payload_extras", None)
    if isinstance(headers, dict):
        headers["X-WeOps-Delivery"] = text.dedup_id
    if isinstance(extras, dict):
        extras.update({"id": text.dedup_id, **text.facts})
    with guarded(networks(settings.WEOPS_ALLOWED_NETWORKS), MOST_SECONDS) as guard:
        _notify(plugin, text, _secrets(address), guard)


def send_mail(address: str, text: Text) -> None:
    """Through the mail server of WEOPS_MAIL_URL. Raises NotSent."""
    url = settings.WEOPS_MAIL_URL
    if not url:
        raise NotSent(_("No mail server: the deployment sets one by WEOPS_MAIL_URL."), final=True)
    separator = "&" if "?" in url else "?"
    plugin = _instantiate(f"{url}{separator}{urlencode({'to': address, 'format': 'text'})}")
    if plugin is None or not hasattr(plugin, "smtp_host"):
        raise NotSent(
            _("WEOPS_MAIL_URL cannot be read: write mailto://host?from=... or mailtos://."), final=True
        )
    plugin.headers["X-WeOps-Delivery"] = text.dedup_id
    _notify(plugin, text, _secrets(url), None)


def _plugin(kind: ChannelKind, address: str) -> Any:
    plugin = _instantiate(_as_apprise(kind, address.strip()))
    schemes = () if plugin is None else _schemes(plugin)
    if plugin is None or not set(schemes) & set(_SCHEMES[kind]):
        raise ValueError(_("Write the address such as %s") % _EXAMPLES[kind])
    return plugin


def _schemes(plugin: Any) -> list[str]:
    found: list[str] = []
    for value in (plugin.protocol, plugin.secure_protocol):
        found.extend([value] if isinstance(value, str) else value or ())
    return found


def _as_apprise(kind: ChannelKind, address: str) -> str:
    if kind == ChannelKind.WEBHOOK:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            return ""
        # Apprise keeps for itself what does not begin with a dash.
        query = urlencode(
            [(f"-{key}", value) for key, value in parse_qsl(parts.query, keep_blank_values=True)]
        )
        scheme = "jsons" if parts.scheme == "https" else "json"
        return urlunsplit((scheme, parts.netloc, parts.path, query, ""))
    if kind == ChannelKind.DINGTALK and (found := _DINGTALK.match(address)):
        return f"dingtalk://{found[1]}"
    if kind == ChannelKind.FEISHU and (found := _FEISHU.match(address)):
        return f"feishu://{found[1]}"
    return address


def _instantiate(url: str) -> Any:
    if not url:
        return None
    apprise = _library()
    asset = apprise.AppriseAsset(app_id="WeOps", app_desc="WeOps", async_mode=False, secure_logging=True)
    with _heard():
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


def _notify(plugin: "NotifyBase", text: Text, secrets: list[str], guard: Guard | None) -> None:
    library = _library()
    plugin.socket_connect_timeout = CONNECT_SECONDS
    plugin.socket_read_timeout = READ_SECONDS
    kind = library.NotifyType.FAILURE if text.urgent else library.NotifyType.WARNING
    with _heard() as lines:
        try:
            sent = plugin.notify(
                body=text.body, title=text.title, notify_type=kind, body_format=library.NotifyFormat.TEXT
            )
        except Exception as error:
            # A plugin that breaks must not end the sender; what it says may hold the address.
            raise NotSent(
                _("%(error)s in %(service)s")
                % {"error": type(error).__name__, "service": plugin.service_name}
            ) from None
    if sent:
        return
    if guard is not None and guard.refused:
        said = _("%(address)s is no public address; the deployment allows others by WEOPS_ALLOWED_NETWORKS")
        raise NotSent(said % {"address": guard.refused_host or _("a local socket")}, final=True)
    if guard is not None and guard.cut:
        raise NotSent(_("It took longer than %(seconds)s seconds.") % {"seconds": round(MOST_SECONDS)})
    raise NotSent(_masked(_reason(lines), secrets))


def _reason(lines: list[tuple[int, str]]) -> str:
    warnings = [line for level, line in lines if level >= logging.WARNING]
    details = " ".join(line for level, line in lines if level < logging.WARNING).lower()
    reason = warnings[-1] if warnings else _("It was not accepted.")
    for mark, said in (
        ("timed out", _("no answer in time")),
        ("connection refused", _("connection refused")),
        ("name or service not known", _("no such host")),
        ("failed to resolve", _("no such host")),
        ("certificate verify failed", _("its certificate cannot be verified")),
    ):
        if mark in details:
            return f"{reason.rstrip('.')} ({said})"
    return reason


def _secrets(address: str) -> list[str]:
    """Pieces of an address that nobody may read: user, password, path, values of the query; longest first."""
    try:
        parts = urlsplit(address)
        pieces = [parts.username, parts.password, parts.path, *parts.path.split("/")]
        pieces += [value for _key, value in parse_qsl(parts.query)]
        if parts.scheme not in ("http", "https", "mailto", "mailtos"):
            pieces.append(parts.netloc)
    except ValueError:
        pieces = [address]
    found = {piece for raw in pieces if raw for piece in (raw, unquote(raw)) if len(piece) > 3}
    return sorted(found, key=len, reverse=True)


def _masked(line: str, secrets: list[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "***")
    return " ".join(line.split())[:500]


# What Apprise logs is its only account of a failure, and may hold what is secret: it is heard here and goes nowhere else.

_hearing = threading.local()


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines: list[tuple[int, str]] | None = getattr(_hearing, "lines", None)
        if lines is not None and len(lines) < 200:
            lines.append((record.levelno, record.getMessage()[:2000]))


_listener = _Listener(logging.DEBUG)


@cache
def _library() -> Any:
    """Apprise with all its services loaded; what those warn of at import is not for our log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    logger = logging.getLogger("apprise")
    if _listener not in logger.handlers:
        logger.addHandler(_listener)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    return apprise


@contextmanager
def _heard() -> Iterator[list[tuple[int, str]]]:
    """What Apprise logs in this thread inside the block: (level, line)."""
    lines: list[tuple[int, str]] = []
    before = getattr(_hearing, "lines", None)
    _hearing.lines = lines
    try:
        yield lines
    finally:
        _hearing.lines = before
