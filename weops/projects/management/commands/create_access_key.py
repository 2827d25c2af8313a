"""`manage.py create_access_key USER`: a key pair for programs that sign their requests, printed once. docs/wedata.md"""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError

from weops.projects import keys


class Command(BaseCommand):
    help = "Makes an access key of a user and prints the pair as JSON; its secret cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", metavar="USER", help="the account whose rights the key has")
        parser.add_argument("--name", default="", metavar="TEXT", help="what will use it")

    def handle(self, *args: Any, **given: Any) -> None:
        user = User.objects.filter(username=given["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active account {given['user']!r}.")
        try:
            pair = keys.create(user, given["name"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(json.dumps({"SecretId": pair.key.secret_id, "SecretKey": pair.secret}))
