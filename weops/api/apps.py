from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "weops.api"
    label = "api"
    verbose_name = "API"
