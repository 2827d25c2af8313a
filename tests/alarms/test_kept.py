"""What alarms keep is English, and is shown in the reader's language."""

import datetime as dt

import pytest
from django.utils.translation import override

from weops.alarms import kept, words
from weops.alarms.kinds import LimitKind
from weops.alarms.limits import Facts, Limit

NOW = dt.datetime(2026, 3, 25, 8, 30, tzinfo=dt.UTC)
FACTS = Facts(state="wait_run", planned_time=NOW, wait_since=NOW, not_before=NOW)


@pytest.mark.parametrize(
    ("made", "english", "chinese"),
    [
        (lambda: words.succeeded("mark_success"), "It was marked as successful.", "已置成功。"),
        (lambda: words.succeeded("end"), "It succeeded.", "成功。"),
        (lambda: words.failed("", "", 0, False), "It failed.", "失败。"),
        (lambda: words.failed("", "", 2, False), "It failed. It failed after 2 retries.", "失败。 重试 2 次后失败。"),
        (lambda: words.failed("EXIT_NONZERO", "", 1, False), "after 1 retry.", "重试 1 次后失败。"),
        (lambda: words.failed("EXIT_NONZERO", "rm: no", 1, True), "rm: no It will be retried.", " rm: no 将会重试。"),
        (lambda: words.failed("EXIT_NONZERO", "exit code 3", 0, True), "exit code 3 It will", "退出码 3 将会重试。"),
        (lambda: words.failed("OWN_CODE", "my words", 0, False), "OWN_CODE: Error OWN_CODE. my words", "my words"),
        (
            lambda: words.late(Limit(LimitKind.RUN), NOW, True, None, FACTS),
            "It is expected to run until later, longer than it may (2026-03-25 08:30 UTC). State: waiting for execution.",
            "预计运行到 更晚，超过允许的时限（2026-03-25 08:30 UTC）。状态：等待执行。",
        ),
        *(
            (
                lambda kind=kind: words.late(Limit(kind), NOW, False, None, FACTS),
                "2026-03-25 08:30 UTC",
                "2026-03-25 08:30 UTC",
            )
            for kind in LimitKind
        ),
    ],
)  # fmt: skip
def test_reasons(made: object, english: str, chinese: str) -> None:
    assert callable(made)
    with override("zh-hans"):
        stored = made()
        shown = kept.reason(stored)
    assert stored.isascii()
    assert english in stored
    assert chinese in shown
    assert not shown.isascii() or "my words" in shown
    assert kept.reason(stored) == stored


def test_a_title_of_the_catalogue_is_translated() -> None:
    stored = words.failed("EXIT_NONZERO", "It ended with 3.", 0, False)
    with override("zh-hans"):
        shown = kept.reason(stored)
    code, _, said = shown.partition(": ")
    assert code == "EXIT_NONZERO"
    assert not said.removesuffix(" It ended with 3.").isascii()
    assert said.endswith(" It ended with 3.")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (kept.NOBODY, "没有可通知的对象：没有邮箱地址，也没有启用的渠道。"),
        ("It took longer than 30 seconds.", "耗时超过 30 秒。"),
        ("The channel was deleted.", "渠道已删除。"),
        ("Slack said 500", "Slack said 500"),
        ("", ""),
    ],
)
def test_errors_of_sending(stored: str, shown: str) -> None:
    with override("zh-hans"):
        assert kept.error(stored) == shown
    assert kept.error(stored) == stored
