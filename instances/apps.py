from django.apps import AppConfig


class InstancesConfig(AppConfig):
    name = "instances"
    verbose_name = "Operations center"

    def ready(self) -> None:
        from instances import secret_records
        from instances.engine import event_handler

        event_handler.register()
        secret_records.register()
