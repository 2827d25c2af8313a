from django.apps import AppConfig
from django.utils import translation
from django.utils.translation import gettext_lazy as _


class InstancesConfig(AppConfig):
    name = "instances"
    verbose_name = _("Operations center")

    def ready(self) -> None:
        from instances import language, secret_records
        from instances.engine import event_handler

        language.speak_through(translation)
        event_handler.register()
        secret_records.register()
