from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    name = "weops.projects"
    label = "projects"
    verbose_name = "Projects"
