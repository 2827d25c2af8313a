"""For-each tasks with real workers: an array from an upstream task, in one slot; whoever dies is followed."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from instances.engine import generation, hints, logs
from instances.engine.dispatch import dispatch
from instances.models import Execution, Instance
from tests import factories as make
from tests.engine.harness import JANUARY, _django_db_helper, assert_sound, instances_of, make_due
from tests.stack import until, world
from tests.traversing import add_inner, child, children

__all__ = ["_django_db_helper"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
# The second item looks like an expression, and stays text.
REGIONS = """echo 'regions=["eu", "us $${x}", "cn"]' >> "$WEOPS_OUTPUT\""""


def test_an_array_from_upstream_is_traversed_in_one_slot_though_workers_die(
    tmp_path: Path, settings: Any
) -> None:
    hung = tmp_path / "hung"
    say = (
        'printf "%s\\n" "item $WEOPS_PARAM_item at ${index}"\n'
        f'if [ "$WEOPS_PARAM_index" = 1 ] && [ ! -e "{hung}" ]; then touch "{hung}"; sleep 300; fi\n'
    )
    with world(tmp_path, settings) as stack:
        group = make.make_group(1)
        upstream = make_due(code=REGIONS, group=group, outputs=["regions"])
        task = make.make_task(
            upstream.workflow,
            group=group,
            task_type="FOR_EACH",
            code="${regions}",
            settings={"parallelism": 3},
            effective_to=upstream.effective_to,
        )
        make.depend(task, upstream)
        steps = add_inner(task, {"say": [], "then": ["say"]}, retry_limit=2)
        steps["say"].task_type, steps["say"].code = "SHELL", say
        steps["say"].save()
        make.submit(task, since=JANUARY - dt.timedelta(seconds=1))
        generation.generate()
        first = stack.worker("first")
        stack.until_ready(first)
        control = stack.control()
        stack.beat()
        hints.send(dispatch({group.pk}))
        [parent] = instances_of(task)
        until(hung.exists, "the second item", 60)
        assert Execution.objects.get(instance=parent).state == "delegated"
        # The worker with the child, and whoever advances the traversals.
        first.kill()
        control.kill()
        stack.control("another")
        stack.until_ready(stack.worker("second"))
        until(lambda: Instance.objects.get(pk=parent.pk).state == "success", "the end of the traversals", 120)
        until(lambda: Execution.objects.get(instance=parent).log_file, "its log", 30)
    assert {one.state for one in children(parent)} == {"success"}
    assert len(children(parent)) == 6
    second = child(parent, "say", 1)
    assert second.total_runs == 2
    text = logs.read(Execution.objects.filter(instance=second).order_by("-id")[0]).text
    assert "item us ${x} at 1" in text
    own = logs.read(Execution.objects.get(instance=parent)).text
    assert "the array has 3 items" in own
    assert "the traversals are over: 3 of 3 traversals succeeded" in own
    assert_sound()
