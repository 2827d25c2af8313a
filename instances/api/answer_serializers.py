"""The shapes of two answers: why an instance does not run, and what changed since the last success."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from instances.insight.why import ORDER

# [number, text] of each line.
_LINES = {
    "type": "array",
    "items": {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "minItems": 2,
        "maxItems": 2,
    },
}


@extend_schema_field(_LINES)
class NumberedLines(serializers.ListField):
    """Pairs of a line's number and its text."""


class NamedSerializer(serializers.Serializer):
    """Something that an answer names."""

    kind = serializers.CharField(help_text="instance, task, event, group, plan or workers.")
    id = serializers.IntegerField(
        allow_null=True, help_text="Null: of a project that you do not see; or workers."
    )
    title = serializers.CharField()


class RemedySerializer(serializers.Serializer):
    """What would help, if you may do it."""

    kind = serializers.CharField(help_text="An operation on `target`, or what to do on its page.")
    title = serializers.CharField()
    target = NamedSerializer()
    data_time = serializers.CharField(help_text="For which an event is to be fired; empty for all others.")


class CauseSerializer(serializers.Serializer):
    """One thing that keeps the instance from running."""

    code = serializers.CharField(help_text=f"In this order: {', '.join(ORDER)}.")
    title = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True, help_text="As far as it is known.")
    until = serializers.DateTimeField(allow_null=True, help_text="When it ends by itself.")
    lines = serializers.ListField(child=serializers.CharField(), help_text="Particulars, the worst first.")
    links = NamedSerializer(many=True)
    fixes = RemedySerializer(many=True)


class WhySerializer(serializers.Serializer):
    """Everything that keeps it, in order: the first is the answer. None: it succeeded."""

    instance_id = serializers.IntegerField()
    state = serializers.CharField()
    causes = CauseSerializer(many=True)


class BaselineSerializer(serializers.Serializer):
    """The run that succeeded."""

    execution_id = serializers.IntegerField()
    instance_id = serializers.IntegerField()
    data_time = serializers.DateTimeField()
    which = serializers.CharField(help_text="same_instance or earlier_data_time.")


class CodeLineSerializer(serializers.Serializer):
    """A line of the difference between both codes."""

    kind = serializers.CharField(help_text="same, removed, added, or skipped: `text` says how many lines.")
    old = serializers.IntegerField(allow_null=True, help_text="Its number then.")
    new = serializers.IntegerField(allow_null=True, help_text="Its number now.")
    text = serializers.CharField()


class ThenAndNowSerializer(serializers.Serializer):
    """Null: it was not there."""

    name = serializers.CharField()
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)
    changed = serializers.BooleanField()


class UpstreamThenAndNowSerializer(serializers.Serializer):
    name = serializers.CharField()
    pk = serializers.IntegerField(allow_null=True, help_text="The present instance; null: hidden.")
    before = serializers.CharField()
    after = serializers.CharField()
    changed = serializers.BooleanField()


class OperatedSerializer(serializers.Serializer):
    """An operation since the success."""

    at = serializers.DateTimeField()
    kind = serializers.CharField()
    operator = serializers.CharField()
    on = serializers.CharField(help_text="The upstream instance; empty: this one.")
    outcome = serializers.CharField()
    record_id = serializers.IntegerField()


class LogDifferenceSerializer(serializers.Serializer):
    """Where both logs first differ."""

    old = NumberedLines()
    new = NumberedLines()
    old_at = serializers.IntegerField(
        allow_null=True, help_text="The first that differs; null: it ends there."
    )
    new_at = serializers.IntegerField(allow_null=True)


class ChangesSerializer(serializers.Serializer):
    """`baseline` null: the task never succeeded before, and nothing else is told."""

    execution_id = serializers.IntegerField()
    baseline = BaselineSerializer(allow_null=True)
    changed = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Which of code, definition, parameters, upstream, operations, worker, log.",
    )
    code = CodeLineSerializer(many=True, required=False)
    versions = ThenAndNowSerializer(many=True, required=False)
    definition = ThenAndNowSerializer(many=True, required=False)
    parameters = ThenAndNowSerializer(many=True, required=False)
    resolved = ThenAndNowSerializer(many=True, required=False)
    surroundings = ThenAndNowSerializer(many=True, required=False)
    upstream = UpstreamThenAndNowSerializer(many=True, required=False)
    operations = OperatedSerializer(many=True, required=False)
    seconds = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        min_length=2,
        max_length=2,
        required=False,
        help_text="How long both took.",
    )
    log = LogDifferenceSerializer(allow_null=True, required=False)
    log_problem = serializers.CharField(required=False)
