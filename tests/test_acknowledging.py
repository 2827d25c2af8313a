"""Acknowledging failures: an overlay on one life, with an owner, a reason and an end; it never changes a state."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from instances import operations
from instances.engine import lifecycle
from instances.models import Acknowledgement, Instance, OperationRecord, StateChange
from instances.operations import OptionError, ReasonRequired
from instances.operations.acknowledging import acknowledged, acknowledgements, in_force
from tests import factories as make
from tests import operating
from tests.engine import harness
from tests.engine.harness import _django_db_helper, bad, due, fresh, good, ids, started, state
from tests.factories import DANA, EVE, OMAR, PETRA, SUSAN, VERA

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
HOSTILE = "<script>alert('x')</script>\0"


def failed(count: int = 1, **columns: Any) -> list[Instance]:
    days = due(count, **columns)
    lifecycle.terminate(ids(days))
    return days


def do(
    kind: str, instances: list[Instance], user: Any = None, reason: str = "known", **options: Any
) -> OperationRecord:
    return operations.run(kind, ids(instances), user=user, reason=reason, source="api", options=options)


def standing(*instances: Instance) -> list[Acknowledgement]:
    found = acknowledgements(ids(list(instances)))
    return [found[pk] for pk in sorted(found)]


class TestAcknowledge:
    def test_it_says_who_takes_care_and_changes_no_state(self) -> None:
        [day] = failed()
        omar = make.make_user(OMAR, project=day.project)
        changes = StateChange.objects.count()
        before = fresh(day).__dict__
        record = do("acknowledge", [day], omar, "disk was full")
        [one] = standing(day)
        assert (one.owner, one.reason, one.life_round, one.operation_id, one.expires_at) == (
            omar, "disk was full", 0, record.pk, None,
        )  # fmt: skip
        after = fresh(day).__dict__
        assert {**before, "_state": 0} == {**after, "_state": 0}
        assert StateChange.objects.count() == changes
        item = record.items.get()
        assert (item.outcome, item.from_state, item.to_state) == ("done", "failed", "failed")

    def test_only_failures(self) -> None:
        days = due(4, group=make.make_group(1), retry_limit=1, retry_wait=dt.timedelta(hours=1))
        [claimed] = started(days[0])
        lifecycle.finish([bad(claimed)])
        lifecycle.terminate([days[1].pk])
        lifecycle.mark_success([days[2].pk])
        record = do("acknowledge", days)
        assert list(operating.outcomes(record).values()) == ["done", "done", "refused", "refused"]
        assert state(days[0]) == "failed_retry"
        refusal = operating.messages(record)[days[2].pk]
        assert refusal == (
            f"{fresh(days[2])} is in state Success: acknowledge is allowed only from Failed, Retry on failure."
        )

    def test_another_owner(self) -> None:
        [day] = failed()
        make.make_user(VERA, project=day.project)
        do("acknowledge", [day], owner=VERA)
        assert standing(day)[0].owner == make.make_user(VERA)

    def test_the_system_has_no_account(self) -> None:
        [day] = failed()
        do("acknowledge", [day])
        assert standing(day)[0].owner is None

    def test_an_owner_who_does_not_see_the_project(self) -> None:
        [day], [other] = failed(), failed()
        make.make_user(EVE)
        petra = make.make_user(PETRA, project=day.project)
        make.make_user(OMAR, project=day.project)
        record = do("acknowledge", [day], petra, owner=EVE)
        assert record.refused == 1
        assert "eve cannot take care of" in operating.messages(record)[day.pk]
        record = do("acknowledge", [day, other], owner=OMAR)
        assert operating.outcomes(record) == {day.pk: "done", other.pk: "refused"}

    def test_an_account_that_was_closed_before_its_batch_came(self) -> None:
        [day] = failed()
        omar = make.make_user(OMAR, project=day.project)
        record = operating.begun("acknowledge", [day.pk], options={"owner": OMAR})
        omar.is_active = False
        omar.save()
        operations.work(record.pk)
        assert "no active account" in operating.messages(record)[day.pk]

    def test_a_new_one_takes_the_place_of_the_old(self) -> None:
        [day] = failed()
        do("acknowledge", [day], reason="first")
        do("acknowledge", [day], reason="second")
        assert [one.reason for one in standing(day)] == ["second"]
        old = Acknowledgement.objects.get(reason="first")
        assert old.withdrawn_at is not None

    def test_many_in_few_statements(self, django_assert_max_num_queries: Any) -> None:
        days = failed(300, since=harness.JANUARY - 300 * harness.DAY)
        with django_assert_max_num_queries(60):
            assert do("acknowledge", days).done == 300
        assert len(standing(*days)) == 300

    def test_two_at_once_leave_one(self) -> None:
        [day] = failed()
        harness.race(*[lambda reason=reason: do("acknowledge", [day], reason=reason) for reason in "abc"])
        assert len(standing(day)) == 1
        assert Acknowledgement.objects.count() == 3

    def test_undo_says_what_to_do_instead(self) -> None:
        [day] = failed()
        record = do("acknowledge", [day])
        assert operations.why_not_undoable(record) == "An acknowledgement is not undone: withdraw it."


class TestInForce:
    def test_until_it_expires(self) -> None:
        [day] = failed()
        until = timezone.now() + dt.timedelta(hours=1)
        do("acknowledge", [day], expires_at=until.isoformat())
        assert standing(day)[0].expires_at == until
        Acknowledgement.objects.update(expires_at=timezone.now())
        assert standing(day) == []
        assert not in_force(Instance.objects.all()).exists()

    def test_for_its_life_only(self) -> None:
        [day] = failed()
        do("acknowledge", [day])
        lifecycle.rerun([day.pk])
        assert standing(day) == []
        lifecycle.terminate([day.pk])
        assert standing(day) == [], "the new life failed, which nobody has seen"
        do("acknowledge", [day])
        assert [one.life_round for one in standing(day)] == [1]

    def test_not_once_it_is_mended(self) -> None:
        [day] = failed()
        do("acknowledge", [day])
        lifecycle.mark_success([day.pk])
        assert standing(day) == []

    def test_while_its_retries_go_on(self) -> None:
        [day] = due(retry_limit=1)
        [claimed] = started(day)
        lifecycle.finish([bad(claimed)])
        do("acknowledge", [day])
        lifecycle.retry_due()
        [claimed] = started(day)
        assert len(standing(day)) == 1
        lifecycle.finish([good(claimed)])
        assert standing(day) == []

    def test_lists_filter_and_annotate(self) -> None:
        one, other = failed(2)
        do("acknowledge", [one])
        assert list(in_force(Instance.objects.all())) == [one]
        marked = Instance.objects.annotate(seen=acknowledged()).order_by("pk").values_list("pk", "seen")
        assert list(marked) == [(one.pk, True), (other.pk, False)]

    def test_one_query_for_a_page(self, django_assert_num_queries: Any) -> None:
        days = failed(20)
        do("acknowledge", days)
        with django_assert_num_queries(1):
            assert [one.owner for one in acknowledgements(ids(days)).values()] == [None] * 20


class TestWithdraw:
    def test_it_is_in_force_no_more(self) -> None:
        [day] = failed()
        do("acknowledge", [day])
        assert do("withdraw_acknowledgement", [day]).done == 1
        assert standing(day) == []
        assert Acknowledgement.objects.get().withdrawn_at is not None

    def test_nothing_to_withdraw(self) -> None:
        one, other = failed(2)
        do("acknowledge", [one])
        record = do("withdraw_acknowledgement", [one, other])
        assert operating.outcomes(record) == {one.pk: "done", other.pk: "refused"}
        assert operating.messages(record)[other.pk] == f"{fresh(other)} has no acknowledgement in force."
        assert do("withdraw_acknowledgement", [one]).refused == 1

    def test_that_of_an_earlier_life_is_over(self) -> None:
        [day] = failed()
        do("acknowledge", [day])
        lifecycle.rerun([day.pk])
        assert do("withdraw_acknowledgement", [day]).refused == 1


class TestRightsAndOptions:
    @pytest.mark.parametrize("kind", ["acknowledge", "withdraw_acknowledgement"])
    def test_every_role(self, kind: str) -> None:
        [day] = failed()
        for name, user in make.make_cast(day.project).items():
            Acknowledgement.objects.all().delete()
            if kind != "acknowledge":
                do("acknowledge", [day])
            may = name in {OMAR, DANA, PETRA, SUSAN}
            assert do(kind, [day], user).done == int(may), name
            assert bool(standing(day)) == (may == (kind == "acknowledge")), name

    @pytest.mark.parametrize("reason", ["", "  ", "\n"])
    def test_a_reason_is_required(self, reason: str) -> None:
        [day] = failed()
        with pytest.raises(ReasonRequired):
            do("acknowledge", [day], reason=reason)
        assert not OperationRecord.objects.filter(kind="acknowledge").exists()

    def test_a_hostile_reason_is_text(self) -> None:
        [day] = failed()
        do("acknowledge", [day], reason=HOSTILE)
        [one] = standing(day)
        assert one.reason.startswith("<script>")
        assert "\0" not in one.reason

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"owner": "nobody_called_so"}, "owner"),
            ({"owner": 5}, "owner"),
            ({"owner": HOSTILE}, "owner"),
            ({"owner": "x" * 151}, "owner"),
            ({"expires_at": "2013-01-01T00:00:00+00:00"}, "expires_at"),
            ({"expires_at": "2099-01-01"}, "expires_at"),
            ({"who": OMAR}, "who"),
        ],
    )
    def test_what_cannot_be_asked_for(self, options: dict[str, Any], field: str) -> None:
        [day] = failed()
        with pytest.raises(OptionError) as caught:
            do("acknowledge", [day], **options)
        assert caught.value.field == field

    def test_options_are_kept_as_they_are_read(self) -> None:
        acknowledge = operations.get("acknowledge")
        given = {"owner": SUSAN, "expires_at": "2099-01-01T08:00:00+08:00"}
        kept = acknowledge.as_json(acknowledge.parse(given))
        assert kept == {"owner": SUSAN, "expires_at": "2099-01-01T00:00:00+00:00"}
        assert acknowledge.parse(kept) == acknowledge.parse(given)
        assert acknowledge.as_json(acknowledge.parse({})) == {}

    def test_it_is_open_to_operators_alone(self) -> None:
        [day] = failed()
        dana = make.make_user(DANA, project=make.make_project())
        assert do("acknowledge", [day], dana).done == 0
