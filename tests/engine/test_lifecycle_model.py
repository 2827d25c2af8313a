"""The life of a few instances under everything that can happen to them, against a small model of what should.

Three instances of one task (serial, orderly or parallel), one of another, one of a task that waits for both; few slots and
a lane with few places. Messages come twice, late or never; workers die, report late or with old tokens; people operate on
everything with all options, and take it back; time passes. After every step the database must hold what the model says,
and every invariant of the design.
"""

from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
    run_state_machine_as_test,
)

from instances.engine import lifecycle
from instances.engine.lifecycle import Touched
from instances.engine.lives import Life as NewLife
from tests.engine import harness
from tests.engine.harness import _django_db_helper
from tests.engine.life_model import Done, Options
from tests.engine.life_world import LANE, World, dies, names

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]


class Lives(World):
    """And people who operate on them."""

    def _known(self, names: list[str]) -> list[str]:
        """Those that exist, in order of their ids."""
        return sorted((name for name in names if name in self.pk), key=self.pk.__getitem__)

    def _operated(
        self, kind: str, names: list[str], allowed: list[str], *options: Any, **more: Any
    ) -> Touched:
        """Does it in the database, as it is done when it is to be undone; only the allowed ones may change."""
        before = {self.pk[name]: self.model.lives[name].state for name in allowed}
        was = self.model.snapshot(allowed)
        with transaction.atomic():
            images = lifecycle.images([self.pk[name] for name in names], parents=True)
            changed, touched = getattr(lifecycle, kind)([self.pk[name] for name in names], *options, **more)
            after = lifecycle.images(sorted(changed))
        assert changed == before
        done = Done(kind, self.model.step, was, {})
        self.done = [*self.done[-2:], (done, {pk: images[pk] for pk in changed}, after)]
        return touched

    def _model_knows(self, allowed: list[str]) -> None:
        self.done[-1][0].after.update(self.model.snapshot(allowed))

    @rule(operation=st.sampled_from(["terminate", "mark_success", "freeze", "thaw"]), names=names, dies=dies)
    def person_operates(self, operation: str, names: list[str], dies: bool) -> None:
        known = self._known(names)
        # Successes release children after all were judged by the states that they had.
        allowed = self.model.allowed(operation, known)
        touched = self._operated(operation, known, allowed)
        for name in allowed:
            self.model.operate(operation, name)
        self._model_knows(allowed)
        self._after(touched, dies)

    @rule(
        names=names,
        check_parents=st.sampled_from(["none", "none", "all", "selection"]),
        check_previous=st.booleans(),
        turn=st.sampled_from(["", "", "serial", "orderly", "parallel", "lane", "lane"]),
        same=st.booleans(),
        dies=dies,
    )
    def person_reruns(
        self,
        names: list[str],
        check_parents: str,
        check_previous: bool,
        turn: str,
        same: bool,
        dies: bool,
    ) -> None:
        """`same`: another batch of the same operation as the last one."""
        self.operations += not (same and self.operations)
        lane = turn == "lane"
        options = Options(check_parents, check_previous, "" if lane else turn, lane)
        life = NewLife(
            check_parents=check_parents,
            check_previous=check_previous,
            self_dependency=options.self_dependency,
            parallelism=self.model.places if lane else None,
            lane=LANE if lane else None,
        )
        known = self._known(names)
        allowed = self.model.allowed("rerun", known)
        touched = self._operated("rerun", known, allowed, self.operations, life)
        self.model.rerun(known, allowed, self.operations, options)
        self._model_knows(allowed)
        self._after(touched, dies)

    @precondition(lambda self: any(life.edges for life in self.model.lives.values()))
    @rule(child=st.sampled_from(["B0", "A1", "A2"]), parents=st.none() | names, dies=dies)
    def person_removes_dependencies(self, child: str, parents: list[str] | None, dies: bool) -> None:
        if child not in self.pk:
            return
        state = self.model.lives[child].state
        edges = None if parents is None else [self.key[name] for name in parents if name in self.key]
        changed, touched = lifecycle.remove_edges([self.pk[child]], edges=edges, user_id=None, reason="No.")
        assert changed == ({self.pk[child]: state} if self.model.remove(child, parents) else {})
        self._after(touched, dies)

    @precondition(lambda self: self.done)
    @rule(number=st.integers(0, 2), dies=dies)
    def person_undoes(self, number: int, dies: bool) -> None:
        done, before, after = self.done.pop(number % len(self.done))
        states = {self.pk[name]: self.model.lives[name].state for name in done.before}
        able = self.model.undo(done)
        changed, touched, reasons = lifecycle.restore(before, after, None, done.kind)
        assert changed == {self.pk[name]: states[self.pk[name]] for name in able}
        assert set(reasons) == set(states) - set(changed)
        self._after(touched, dies)


def test_lives_of_instances() -> None:
    harness.truncate()
    with connection.cursor() as cursor:
        # A crash of the server is no part of this test.
        cursor.execute("SET synchronous_commit = off")
    try:
        run_state_machine_as_test(
            Lives, settings=hypothesis_settings(max_examples=25, stateful_step_count=25, database=None)
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")
