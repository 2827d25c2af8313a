from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConsoleConfig(AppConfig):
    name = "weops.console"
    label = "console"
    verbose_name = _("Console")

    def ready(self) -> None:
        from weops import checks  # noqa: F401  (registers the deployment checks)
