"""`manage.py create_token`: a token for scripts. docs/api.md"""

import datetime as dt
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from weops.api import tokens
from weops.projects.access import Right
from weops.projects.models import Project


class Command(BaseCommand):
    help = "Makes an API token and prints it, this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="the account that it stands for")
        parser.add_argument("--name", default="command line", help="what it is for")
        parser.add_argument(
            "--right",
            action="append",
            choices=[right.value for right in Right],
            help="may be given several times; by default all that the user has",
        )
        parser.add_argument("--project", metavar="NAME", help="in this project only")
        parser.add_argument("--days", type=int, metavar="N", help="expires after so many days")

    def handle(self, *args: Any, **given: Any) -> None:
        user = User.objects.filter(username=given["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {given['user']!r}.")
        project = None
        if given["project"]:
            project = Project.objects.filter(name=given["project"]).first()
            if project is None:
                raise CommandError(f"There is no project {given['project']!r}.")
        if given["days"] is not None and not 1 <= given["days"] <= 36_500:
            raise CommandError("Choose 1 to 36,500 days.")
        expires = timezone.now() + dt.timedelta(days=given["days"]) if given["days"] else None
        rights = [Right(right) for right in given["right"] or Right]
        _, text = tokens.issue(user, given["name"][:100], rights=rights, project=project, expires_at=expires)
        self.stdout.write(text)
