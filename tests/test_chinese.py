"""What instances are told of in Chinese; and that what is kept stays English, whoever asked."""

from collections.abc import Iterator

import pytest
from django.utils import translation

from instances import kept_words, language, operations
from instances.engine import parameters, plan_tasks
from instances.engine.errors import CATALOGUE, entry, explain
from instances.engine.plan_spec import Reprocess
from instances.engine.schedule import Cycle, Schedule, ScheduleError, describe, errors
from instances.engine.states import LABELS, Operation, State, refusal
from instances.kinds import KINDS
from instances.models import Instance, Task
from instances.models.operation import OperationItem
from instances.operations import words
from instances.runners import exits, registry, settings_schema, shell
from tests.admin.rows import make_instance
from tests.factories import make_task
from weops import catalogues

CHINESE = "zh-hans"


@pytest.fixture
def _chinese() -> Iterator[None]:
    with translation.override(CHINESE):
        yield


def _is_chinese(text: object) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in str(text))


@pytest.mark.usefixtures("_chinese")
class TestShown:
    @pytest.mark.parametrize(
        ("schedule", "said"),
        [
            (Schedule(Cycle.DAY, "UTC"), "每天 00:00（UTC）"),
            (Schedule(Cycle.WEEK, "UTC", weekdays=(1, 3, 5)), "每周一、周三和周五 00:00（UTC）"),
            (Schedule(Cycle.MONTH, "UTC", month_days=(1, -1)), "每月1 日和最后一天 00:00（UTC）"),
            (Schedule(Cycle.HOUR, "UTC", step=2), "每天自 00:00 起每 2 小时（UTC）"),
        ],
    )
    def test_schedules(self, schedule: Schedule, said: str) -> None:
        assert describe(schedule) == said

    @pytest.mark.parametrize(
        ("crontab", "said"),
        [
            ("30 2 * * *", "02:30"),
            ("*/15 * * * *", "每 15 分钟"),
            ("5 * * * *", "每小时的第 5 分"),
            ("* * * * *", "每分钟"),
            ("0 6 L 1,2 *", "1月和2月 最后一天 06:00"),
            ("0 6 * * 5L", "当月最后一个周五 06:00"),
            ("0 6 * * MON#1", "当月第 1 个周一 06:00"),
            ("0 0 13 * 5", "13 日 或 周五 00:00"),
            ("0 0 */10 * 5", "1、11、21和31 日且为周五 00:00"),
            ("0 22 1-9 * *", "1-9 日 22:00"),
            ("*/7 * * * *", "当天的 216 个时刻，最早 00:00，最晚 23:56"),
        ],
    )
    def test_crontabs(self, crontab: str, said: str) -> None:
        schedule = Schedule(Cycle.CRONTAB, "UTC", crontab=crontab)
        assert describe(schedule) == f"crontab {crontab}：{said}（UTC）"

    def test_every_error_has_its_title_causes_and_advice(self) -> None:
        for code in CATALOGUE:
            error = explain(code)
            assert error is not None
            assert all(map(_is_chinese, (error.title, error.advice, *error.causes))), code

    def test_states_types_and_kinds(self) -> None:
        assert Instance(state=State.FAILED, instance_type="periodic").get_state_display() == "失败"
        assert str(Task._meta.verbose_name) == "任务"
        assert str(Task._meta.get_field("retry_wait").verbose_name) == "重试间隔"
        assert all(_is_chinese(kind.title) for kind in KINDS.values())

    def test_numbers_and_lists(self) -> None:
        assert words.counted(1200, "instance") == "1,200 个实例"
        assert words.listed("abcdefg") == "a、b、c、d、e和另外 2 个"
        assert words.about(5400) == "1 小时 30 分钟"

    def test_what_is_wrong_is_said_in_the_language_of_now(self) -> None:
        wrong = Schedule(Cycle.CRONTAB, "UTC", crontab="1 2")
        chinese = errors(wrong)[0].message
        with translation.override("en"):
            english = errors(wrong)[0].message
        assert (_is_chinese(chinese), _is_chinese(english)) == (True, False)
        with pytest.raises(ScheduleError, match="请填写其中之一"):
            Schedule("NEVER", "UTC")  # type: ignore[arg-type]
        (fault,) = parameters.check("${nope}", [])
        assert str(fault).startswith("${nope} 未定义")

    def test_a_fault_of_a_setting_is_known_as_one(self) -> None:
        (wrong,) = registry.check("HTTP", {"url": "ftp://x/"}, "")
        assert wrong == "设置项 url 必须以 http:// 或 https:// 开头"
        assert settings_schema.setting_of(wrong) == "url"
        (wrong,) = registry.check("SHELL", {}, "")
        assert (wrong, settings_schema.setting_of(wrong)) == ("代码为空", None)


def test_messages_about_settings_begin_alike() -> None:
    share = next(one for one in catalogues.SHARES if one.name == "instances")
    found = [row for row in share.read() if row.msgid.startswith("the setting ")]
    assert len(found) > 5
    assert [row.msgid for row in found if not row.msgstr.startswith("设置项 ")] == []


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (exits.judge(3).message, "退出码 3"),
        (exits.judge(-11).message, "被 SIGSEGV 终止"),
        (shell.judge(127).message, "退出码 127：找不到某个命令"),
        (shell.judge(143).message, "退出码 143（脚本中的某个命令可能被 SIGTERM 终止）"),
        (
            refusal(Operation.FREEZE, State.SUCCESS, "sales 2026-03-25 00:00:00"),
            "sales 2026-03-25 00:00:00 处于“成功”状态：仅允许在以下状态执行冻结："
            "等待事件、等待上游、等待执行、失败重试。",
        ),
        (plan_tasks.verdict(None, None, Reprocess.ALL).why, "该任务已不存在。"),
        (plan_tasks.verdict(None, State.SUCCESS, Reprocess.MISSING).why, "已存在；计划只生成缺失的。"),
        ("Traceback: nobody's own\nexit code 1", "Traceback: nobody's own\n退出码 1"),
        ("", ""),
    ],
)
def test_what_is_kept_in_english_is_shown_in_chinese(kept: str, said: str) -> None:
    assert kept_words.told(kept) == kept, "in English as it is"
    with translation.override(CHINESE):
        assert kept_words.told(kept) == said


def test_what_is_stored_of_errors_is_english() -> None:
    with translation.override(CHINESE):
        found = entry("LOST")
        assert found is not None
        assert not _is_chinese(found.title)
        assert LABELS[State.FAILED] == "Failed"


@pytest.mark.django_db
def test_the_record_of_an_operation_is_english_whoever_asked() -> None:
    done = make_instance(make_task(), State.SUCCESS)
    with translation.override(CHINESE):
        previewed = operations.preview("terminate", [done.pk], user=None)
        record = operations.run("terminate", [done.pk], user=None, reason="", source="admin")
        item = OperationItem.objects.get(operation=record)
        assert item.message.endswith("Waiting for execution, Running, Retry on failure.")
        assert item.said.endswith("等待执行、正在运行、失败重试。")
    assert previewed.summary["sentences"][0] == "不会发生任何变化：1 个被拒绝。"


def test_who_asks_for_no_language_is_told_in_english() -> None:
    with translation.override(None):
        assert language.gettext("Failed") == "Failed"
