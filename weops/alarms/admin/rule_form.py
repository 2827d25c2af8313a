"""The form of a rule. It collects; `rules.check` judges, and its messages land on the fields that they name."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from instances.models import Task, Workflow
from weops.alarms import rules, words
from weops.alarms.groups import GroupSpec, audience
from weops.alarms.kinds import Kind, Level, LimitKind, Measure, ObjectKind, Receivers, Trigger
from weops.alarms.models import Channel, Rule
from weops.alarms.rules import RuleSpec
from weops.projects.models import Project

DAYS = [
    (1, _("Mon")),
    (2, _("Tue")),
    (3, _("Wed")),
    (4, _("Thu")),
    (5, _("Fri")),
    (6, _("Sat")),
    (7, _("Sun")),
]
# What the page asks for, in groups.
SECTIONS = (
    (_("What it watches"), ("name", "level", "enabled", "object_kind", "tasks", "workflows", "description")),
    (_("What it alarms about"), ("kinds", "trigger", "rerun_trigger")),
    (
        _("What late means"),
        (
            "finish_clock",
            "finish_zone",
            "finish_average",
            "cycle",
            "run_minutes",
            "run_average",
            "wait_minutes",
            "wait_average",
            "limits_of",
        ),
    ),
    (_("Whom it tells"), ("receivers", "people", "by_email", "emails", "channels")),
    (
        _("How often, and when not"),
        (
            "notify_count",
            "notify_minutes",
            "escalation",
            "escalation_minutes",
            "quiet_days",
            "quiet_start",
            "quiet_end",
            "zone",
        ),
    ),
)
_LIMIT_FIELDS = tuple(SECTIONS[2][1])
_GROUP_FIELDS = (*SECTIONS[3][1], *SECTIONS[4][1])


def _number(label: Any, help_text: Any = "", most: int = 44_640) -> forms.IntegerField:
    return forms.IntegerField(label=label, required=False, min_value=0, max_value=most, help_text=help_text)


class RuleForm(forms.Form):
    """A rule of `project`. Of a rule with several groups of receivers the first is shown, the others are kept."""

    name = forms.CharField(label=_("Name"), max_length=100)
    level = forms.TypedChoiceField(label=_("Level"), choices=Level.choices, coerce=int, initial=Level.NORMAL)
    enabled = forms.BooleanField(label=_("Switched on"), required=False, initial=True)
    object_kind = forms.ChoiceField(label=_("Watches"), choices=ObjectKind.choices)
    tasks = forms.ModelMultipleChoiceField(Task.objects.none(), label=_("Tasks"), required=False)
    workflows = forms.ModelMultipleChoiceField(Workflow.objects.none(), label=_("Workflows"), required=False)
    description = forms.CharField(
        label=_("Description"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )
    kinds = forms.MultipleChoiceField(
        label=_("Alarms about"), choices=Kind.choices, widget=forms.CheckboxSelectMultiple
    )
    trigger = forms.ChoiceField(label=_("Failure to tell"), choices=Trigger.choices, initial=Trigger.FINAL)
    rerun_trigger = forms.ChoiceField(
        label=_("Failure to tell of reruns and backfills"), choices=Trigger.choices, initial=Trigger.FINAL
    )
    finish_clock = forms.CharField(
        label=_("Finish by"), required=False, max_length=5, help_text=_("HH:MM; told before it is missed.")
    )
    finish_zone = forms.CharField(
        label=_("Time zone of the finish"), required=False, initial="UTC", max_length=64
    )
    finish_average = _number(_("Finish later than on average, percent"), most=1000)
    cycle = forms.BooleanField(label=_("Finish before the next run is planned"), required=False)
    run_minutes = _number(_("Running time, minutes"))
    run_average = _number(_("Running longer than on average, percent"), most=1000)
    wait_minutes = _number(_("Waiting time, minutes"))
    wait_average = _number(_("Waiting longer than on average, percent"), most=1000)
    limits_of = forms.ChoiceField(
        label=_("For"),
        choices=[("first", _("Scheduled runs")), ("reruns", _("Reruns and backfills")), ("both", _("Both"))],
    )
    receivers = forms.ChoiceField(label=_("Tell"), choices=Receivers.choices, initial=Receivers.OWNER)
    people = forms.ModelMultipleChoiceField(User.objects.none(), label=_("People"), required=False)
    by_email = forms.BooleanField(label=_("By e-mail"), required=False, initial=True)
    emails = forms.CharField(
        label=_("Other e-mail addresses"),
        required=False,
        max_length=2000,
        help_text=_("Separated by commas."),
    )
    channels = forms.ModelMultipleChoiceField(Channel.objects.none(), label=_("Channels"), required=False)
    notify_count = forms.IntegerField(label=_("Tell so many times"), initial=1, min_value=1, max_value=100)
    notify_minutes = forms.IntegerField(label=_("Minutes between"), initial=30, min_value=1, max_value=10_080)
    escalation = forms.CharField(
        label=_("Then escalate to"),
        required=False,
        max_length=2000,
        help_text=_(
            "User names in order, separated by commas; the next one is told while nobody acknowledges."
        ),
    )
    escalation_minutes = forms.IntegerField(
        label=_("Escalate after minutes"), initial=30, min_value=1, max_value=10_080
    )
    quiet_days = forms.TypedMultipleChoiceField(
        label=_("Quiet on"), choices=DAYS, coerce=int, required=False, widget=forms.CheckboxSelectMultiple
    )
    quiet_start = forms.TimeField(
        label=_("Quiet from"), required=False, widget=forms.TimeInput(attrs={"type": "time"})
    )
    quiet_end = forms.TimeField(
        label=_("Quiet until"), required=False, widget=forms.TimeInput(attrs={"type": "time"})
    )
    zone = forms.CharField(label=_("Time zone of quiet hours"), required=False, initial="UTC", max_length=64)

    def __init__(self, user: User, project: Project, rule: Rule | None, data: Any = None) -> None:
        self.user, self.project, self.rule = user, project, rule
        self._present = rules.spec_of(rule) if rule else None
        super().__init__(data, initial=_initial(self._present, project) if self._present else None)
        choices: dict[str, Any] = {
            "tasks": Task.objects.filter(workflow__project=project).order_by("name"),
            "workflows": Workflow.objects.filter(project=project).order_by("name"),
            "people": audience(project.pk).order_by("username"),
            "channels": Channel.objects.filter(project=project).defer("ciphertext").order_by("name"),
        }
        for name, rows in choices.items():
            field: Any = self.fields[name]
            field.queryset = rows
        self.kept_limits = self._present is not None and _limit_fields(self._present.limits) is None
        self.kept_groups = max(0, len(self._present.groups) - 1) if self._present else 0
        if self.kept_limits:
            for name in _LIMIT_FIELDS:
                del self.fields[name]

    @property
    def sections(self) -> list[tuple[Any, list[forms.BoundField]]]:
        return [(title, [self[name] for name in names if name in self.fields]) for title, names in SECTIONS]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if self.errors:
            return values
        try:
            self.spec = rules.check(self.user, self.project, self._spec(values), self.rule)
        except ValidationError as error:
            places = {"object_ids": self._chooser(values), "limits": "finish_clock", "groups": "receivers"}
            for name, messages in error.message_dict.items():
                place = places.get(name, name)
                self.add_error(place if place in self.fields else None, messages)
        return values

    def sentence(self) -> str:
        """What the rule does, in words; only after it was found valid."""
        return sentence(self.spec, self.project)

    def _chooser(self, values: dict[str, Any]) -> str:
        kind = values["object_kind"]
        return {ObjectKind.TASK: "tasks", ObjectKind.WORKFLOW: "workflows"}.get(kind, "object_kind")

    def _spec(self, values: dict[str, Any]) -> RuleSpec:
        chooser = self._chooser(values)
        ids = [] if chooser == "object_kind" else [row.pk for row in values[chooser]]
        limits = self._present.limits if self.kept_limits and self._present else _limits(values)
        return RuleSpec(
            name=values["name"],
            object_kind=values["object_kind"],
            object_ids=ids,
            kinds=values["kinds"],
            groups=[self._group(values), *(self._present.groups[1:] if self._present else [])],
            description=values["description"],
            level=values["level"],
            enabled=values["enabled"],
            trigger=values["trigger"],
            rerun_trigger=values["rerun_trigger"],
            limits=limits if Kind.OVERTIME in values["kinds"] else [],
        )

    def _group(self, values: dict[str, Any]) -> GroupSpec:
        names = _words(values["escalation"])
        known = {user.username: user.pk for user in audience(self.project.pk).filter(username__in=names)}
        if strangers := [name for name in names if name not in known]:
            self.add_error(
                "escalation", _("No active members of the project: %s.") % ", ".join(strangers[:10])
            )
        quiet = []
        if any(values[name] for name in ("quiet_days", "quiet_start", "quiet_end")):
            quiet = [
                {
                    "days": values["quiet_days"] or [day for day, _label in DAYS],
                    "start": f"{values['quiet_start'] or '00:00:00'}",
                    "end": f"{values['quiet_end'] or '00:00:00'}",
                }
            ]
        return GroupSpec(
            receivers=values["receivers"],
            people=[person.pk for person in values["people"]],
            emails=_words(values["emails"]),
            by_email=values["by_email"],
            channels=[channel.pk for channel in values["channels"]],
            notify_count=values["notify_count"],
            notify_minutes=values["notify_minutes"],
            quiet=quiet,
            timezone=values["zone"] or "UTC",
            escalation=[known[name] for name in names if name in known],
            escalation_minutes=values["escalation_minutes"],
        )


def _words(text: str) -> list[str]:
    return [word for word in text.replace(";", ",").replace(",", " ").split() if word]


def _limits(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Limits of the fields, for each of the lives that they are of."""
    found: list[dict[str, Any]] = []
    if values["finish_clock"]:
        zone = values["finish_zone"] or "UTC"
        found.append({"kind": LimitKind.FINISH, "clock": values["finish_clock"], "timezone": zone})
    if values["cycle"]:
        found.append({"kind": LimitKind.CYCLE})
    for kind in (LimitKind.FINISH, LimitKind.RUN, LimitKind.WAIT):
        if values.get(f"{kind}_minutes"):
            found.append({"kind": kind, "minutes": values[f"{kind}_minutes"]})
        if values[f"{kind}_average"] is not None:
            found.append({"kind": kind, "measure": Measure.AVERAGE, "tolerance": values[f"{kind}_average"]})
    lives = {"first": (False,), "reruns": (True,), "both": (False, True)}[values["limits_of"]]
    return [{**limit, "reruns": reruns} for reruns in lives for limit in found]


def _limit_fields(limits: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The fields that say the same; None if none do, as of limits made elsewhere."""
    bare = {
        reruns: [
            {k: v for k, v in limit.items() if k != "reruns"} for limit in limits if limit["reruns"] == reruns
        ]
        for reruns in (False, True)
    }
    if bare[False] and bare[True] and bare[False] != bare[True]:
        return None
    lives = "both" if bare[False] and bare[True] else "reruns" if bare[True] else "first"
    fields: dict[str, Any] = {"limits_of": lives}
    for limit in bare[False] or bare[True]:
        kind = limit["kind"]
        if kind == LimitKind.CYCLE:
            found = {"cycle": True}
        elif limit["measure"] == Measure.AVERAGE:
            found = {f"{kind}_average": limit["tolerance"]}
        elif kind == LimitKind.FINISH:
            found = {"finish_clock": limit["clock"], "finish_zone": limit["timezone"]}
        else:
            found = {f"{kind}_minutes": limit["minutes"]}
        if set(found) & set(fields):
            return None
        fields.update(found)
    return fields


def _initial(spec: RuleSpec, project: Project) -> dict[str, Any]:
    group = spec.groups[0] if spec.groups else GroupSpec()
    quiet = group.quiet[0] if group.quiet else {}
    names = dict(User.objects.filter(pk__in=group.escalation).values_list("pk", "username"))
    return {
        **{
            name: getattr(spec, name)
            for name in (
                "name",
                "level",
                "enabled",
                "object_kind",
                "description",
                "kinds",
                "trigger",
                "rerun_trigger",
            )
        },
        "tasks": spec.object_ids if spec.object_kind == ObjectKind.TASK else [],
        "workflows": spec.object_ids if spec.object_kind == ObjectKind.WORKFLOW else [],
        **(_limit_fields(spec.limits) or {}),
        **{
            name: getattr(group, name)
            for name in (
                "receivers",
                "people",
                "by_email",
                "channels",
                "notify_count",
                "notify_minutes",
                "escalation_minutes",
            )
        },
        "emails": ", ".join(group.emails),
        "escalation": ", ".join(names[pk] for pk in group.escalation if pk in names),
        "quiet_days": quiet.get("days", []),
        "quiet_start": quiet.get("start"),
        "quiet_end": quiet.get("end"),
        "zone": group.timezone,
    }


def sentence(spec: RuleSpec, project: Project) -> str:
    """What a rule of the project does, in words."""
    return sentences([(spec, project)])[0]


def sentences(pairs: Sequence[tuple[RuleSpec, Project]]) -> list[str]:
    """The same of many rules, in a fixed number of queries."""

    def ids(kind: str) -> set[int]:
        return {pk for spec, _project in pairs if spec.object_kind == kind for pk in spec.object_ids}

    def names(rows: Any, wanted: Iterable[int], column: str) -> dict[int, str]:
        return dict(rows.filter(pk__in=set(wanted)).values_list("pk", column))

    tasks = names(Task.objects, ids(ObjectKind.TASK), "name")
    workflows = names(Workflow.objects, ids(ObjectKind.WORKFLOW), "name")
    groups = [group for spec, _project in pairs for group in spec.groups]
    people = names(User.objects, (pk for group in groups for pk in group.people), "username")
    channels = names(Channel.objects, (pk for group in groups for pk in group.channels), "name")
    told = []
    for spec, project in pairs:
        objects = {ObjectKind.TASK: tasks, ObjectKind.WORKFLOW: workflows}.get(
            ObjectKind(spec.object_kind), {project.pk: project.name}
        )
        receivers = [
            word
            for group in spec.groups
            for word in words.receivers_words(
                group,
                [people[pk] for pk in group.people if pk in people],
                [channels[pk] for pk in group.channels if pk in channels],
            )
        ]
        found = [objects[pk] for pk in spec.object_ids if pk in objects]
        told.append(words.sentence(spec, found or ["…"], list(dict.fromkeys(receivers))))
    return told
