from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "weops.console"
    label = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        from weops import checks  # noqa: F401  (registers the deployment checks)
