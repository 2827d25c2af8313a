"""The twelve trigger policies against what their words say, and the engine's SQL against the function."""

from itertools import product

import pytest
from django.db import connection

from instances.engine.trigger_policies import Counts, Policy, Verdict, bits, decide, sql

MOST = 3


def _final(policy: Policy, s: int, f: int, k: int) -> Verdict:
    """When all parents have ended, as WeData's documentation of `DependencyTriggerPolicy` has it."""
    n = s + f + k
    met = {
        Policy.ALL_SUCCESS: s == n,
        Policy.ALL_FAILED: f == n,
        Policy.ALL_DONE: True,
        Policy.ALL_DONE_AT_LEAST_ONE_SUCCESS: s >= 1,
        Policy.ALL_SKIPPED: k == n,
        Policy.ONE_FAILED: f >= 1,
        Policy.ONE_SUCCESS: s >= 1,
        Policy.ONE_DONE: n >= 1,
        Policy.NONE_FAILED: f == 0,
        Policy.ALL_DONE_NONE_FAILED_AT_LEAST_ONE_SUCCESS: f == 0 and s >= 1,
        Policy.NONE_SKIPPED: k == 0,
        Policy.ALL_DONE_AT_LEAST_ONE_FAILED: f >= 1,
    }[policy]
    if met:
        return Verdict.RUN
    if policy is Policy.NONE_FAILED or (policy is Policy.ALL_SUCCESS and k == 0):
        return Verdict.FAIL
    return Verdict.SKIP


AT_ONCE = (Policy.ONE_FAILED, Policy.ONE_SUCCESS, Policy.ONE_DONE)


def _oracle(policy: Policy, counts: Counts) -> Verdict:
    """Tries everything that the open parents may become."""
    if counts == Counts():
        return Verdict.RUN
    if counts.open == 0:
        return _final(policy, counts.succeeded, counts.failed, counts.skipped)
    ends = {
        _final(
            policy,
            counts.succeeded + more.count("s"),
            counts.failed + more.count("f"),
            counts.skipped + more.count("k"),
        )
        for more in product("sfk", repeat=counts.open)
    }
    if ends == {Verdict.SKIP}:
        return Verdict.SKIP
    some = counts.succeeded + counts.failed + counts.skipped > 0
    return Verdict.RUN if ends == {Verdict.RUN} and policy in AT_ONCE and some else Verdict.WAIT


EVERY = [(policy, Counts(*numbers)) for policy in Policy for numbers in product(range(MOST + 1), repeat=4)]


def test_every_policy_says_what_its_words_say() -> None:
    wrong = [
        f"{policy} {counts}: {decide(policy, counts)}, not {_oracle(policy, counts)}"
        for policy, counts in EVERY
        if decide(policy, counts) != _oracle(policy, counts)
    ]
    assert wrong == []


@pytest.mark.django_db
def test_the_database_decides_as_the_function_does() -> None:
    expression = sql("policy", succeeded="s", failed="f", skipped="k", open="o")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {expression} FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[], %s::int[]) "
            "WITH ORDINALITY AS c(policy, s, f, k, o, place) ORDER BY place",
            [
                [policy.value for policy, _ in EVERY],
                *[
                    [getattr(counts, name) for _, counts in EVERY]
                    for name in ("succeeded", "failed", "skipped", "open")
                ],
            ],
        )
        found = [row[0] for row in cursor.fetchall()]
    assert found == [decide(policy, counts).value for policy, counts in EVERY]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="MOST_SUCCESS"):
        decide("MOST_SUCCESS", Counts(open=1))


def test_bits_of_a_dependency() -> None:
    assert bits([], judged=False) == 0
    assert bits(["PARENT_TIMEOUT", "NOT_EXIST", "NOT_EXIST"], judged=True) == 4 + 1 + 8
