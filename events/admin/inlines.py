"""What a task's page says about events: which it listens to, which its success fires."""

from django.utils.translation import gettext_lazy as _

from events.models import Emitter, Listener
from weops.console.scoped import ScopedInline
from weops.projects.access import Right


class ListenerInline(ScopedInline):
    model = Listener
    fk_name = "task"
    fields = ("event", "max_wait", "max_wait_unit")
    autocomplete_fields = ("event",)
    hide_title = True
    # A task may listen to any event that its author can see, in other projects too.
    choice_rights = {"event": Right.VIEW}
    verbose_name = _("event")
    verbose_name_plural = _("Listens to events")


class EmitterInline(ScopedInline):
    model = Emitter
    fk_name = "task"
    fields = ("event",)
    autocomplete_fields = ("event",)
    hide_title = True
    # To fire an event is to operate on whoever listens to it.
    choice_rights = {"event": Right.OPERATE}
    verbose_name = _("event")
    verbose_name_plural = _("Fires events")
