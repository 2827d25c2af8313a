"""The words of alarms: what a rule watches for, how, and how loud. Standard library and Django's text choices only."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ObjectKind(models.TextChoices):
    """What a rule watches."""

    TASK = "task", _("Tasks")
    WORKFLOW = "workflow", _("Workflows")
    PROJECT = "project", _("The whole project")


class Kind(models.TextChoices):
    """What a rule alarms about. `RERUN_*` are of lives that a rerun or a backfill began, the others of all other lives."""

    FAILURE = "failure", _("Failure")
    OVERTIME = "overtime", _("Lateness")
    SUCCESS = "success", _("Success")
    RERUN_FAILURE = "rerun_failure", _("Failure of a rerun or backfill")
    RERUN_SUCCESS = "rerun_success", _("Success of a rerun or backfill")


class Trigger(models.TextChoices):
    """Which failure of a life is told."""

    FIRST = "first", _("The first failed try")
    FINAL = "final", _("The failure after all retries")


class LimitKind(models.TextChoices):
    """What a limit is about."""

    RUN = "run", _("Running time")
    FINISH = "finish", _("Finish")
    WAIT = "wait", _("Waiting time")
    CYCLE = "cycle", _("Finish within its cycle")


class Measure(models.TextChoices):
    FIXED = "fixed", _("A fixed value")
    AVERAGE = "average", _("The average of the last runs")


class Level(models.IntegerChoices):
    NORMAL = 1, _("Normal")
    IMPORTANT = 2, _("Important")
    URGENT = 3, _("Urgent")


class Receivers(models.TextChoices):
    PEOPLE = "people", _("These people")
    OWNER = "owner", _("The task's owner")


class ChannelKind(models.TextChoices):
    WEBHOOK = "webhook", _("Webhook (JSON)")
    WECOM = "wecom", _("WeCom group")
    DINGTALK = "dingtalk", _("DingTalk group")
    FEISHU = "feishu", _("Feishu group")
    SLACK = "slack", _("Slack")
    TEAMS = "teams", _("Microsoft Teams")
    OTHER = "other", _("Another service of Apprise")


class Sending(models.TextChoices):
    """State of a message and of each delivery. A message is `failed` when a delivery of it was given up."""

    TO_SEND = "to_send", _("To send")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")


FAILURES = (Kind.FAILURE, Kind.RERUN_FAILURE)
SUCCESSES = (Kind.SUCCESS, Kind.RERUN_SUCCESS)
