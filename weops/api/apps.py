from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "weops.api"
    label = "api"
    verbose_name = "API"

    def ready(self) -> None:
        from weops.api import schema_extensions  # noqa: F401 - registers itself
