"""Secrets from their writing to their use: encrypted, never shown, masked in what is kept, on record, re-encrypted."""

import io
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from instances.engine import maintenance, secrets
from instances.engine.runtime import Runtime
from instances.models import Execution, Instance, SecretUse
from tests import factories as make
from tests.engine.harness import JANUARY, _django_db_helper, due
from tests.engine.workers import begin, log_of, run, sent, worker
from weops.projects import encryption
from weops.projects.definitions import SECRETS
from weops.projects.management.commands.rotate_keys import encrypted_models
from weops.projects.models import Secret

__all__ = ["_django_db_helper", "begin", "sent", "worker"]
pytestmark = [pytest.mark.engine, pytest.mark.django_db(transaction=True)]
VALUE = "q7#Zw/+secret value 9"


def with_secret(code: str, value: str = VALUE, **columns: Any) -> Any:
    """An instance of a task that gets the secret TOKEN."""
    [day] = due(code=code, **columns)
    day.task.secrets.add(make.make_secret(day.project, "TOKEN", value))
    return day


class TestRunning:
    def test_no_copy_of_the_log_has_it_however_it_is_printed(self, worker: Runtime) -> None:
        code = (
            'echo "whole $TOKEN"; printf "%s" "pieces $${TOKEN:0:7}"; sleep 0.4; printf "%s\\n" "$${TOKEN:7}"\n'
            'printf "%s" "$TOKEN" | base64; printf "x%s" "$TOKEN" | base64; printf "xx%s" "$TOKEN" | base64 -w0; echo\n'
            'printf "%s" "$TOKEN" | od -An -tx1 | tr -d " \\n"; echo\n'
            'echo "error $TOKEN" >&2; exit 3'
        )
        day = with_secret(code)
        [done] = run(worker, day)
        text = log_of(day)
        assert "whole ***\npieces ***\n" in text
        assert "its environment has the secrets TOKEN" in text
        for shown in (text, done.error_message, Execution.objects.get().error_message):
            assert VALUE not in shown
            assert VALUE[:9] not in shown
            assert VALUE.encode().hex() not in shown
            assert "Wncv" not in shown, "part of its base64"

    def test_who_used_it_is_on_record(self, worker: Runtime) -> None:
        day = with_secret("true")
        run(worker, day)
        [use] = SecretUse.objects.all()
        execution = Execution.objects.get()
        assert (use.execution_id, use.name) == (execution.pk, "TOKEN")
        assert secrets.used_by(execution.pk) == ["TOKEN"]
        secrets.note_uses(execution.pk, [use.secret])
        assert SecretUse.objects.count() == 1

    def test_a_secret_that_cannot_be_decrypted_fails_the_run_and_is_named(
        self, worker: Runtime, settings: Any
    ) -> None:
        day = with_secret("true")
        settings.WEOPS_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
        [done] = run(worker, day)
        assert done.error_code == "UNREADABLE_SECRET"
        assert "Secret TOKEN" in done.error_message

    def test_what_pages_show_is_masked(self) -> None:
        day = with_secret("true")
        masker = secrets.masker_of(day.task_id)
        assert masker.mask_text(f"curl -H 'x: {VALUE}'") == "curl -H 'x: ***'"


class TestPages:
    def signed_in(self, name: str, project: Any) -> Client:
        client = Client()
        client.force_login(make.make_user(name, project=project))
        return client

    def test_the_page_tells_who_wrote_and_who_used_it_and_never_the_value(self, worker: Runtime) -> None:
        day = with_secret("true")
        petra = make.make_user(make.PETRA, project=day.project)
        secret = Secret.objects.get()
        SECRETS.update(secret, {"value": VALUE + "2"}, user=petra, source="api")
        run(worker, day)
        address = reverse("admin:projects_secret_change", args=(secret.pk,))
        text = self.signed_in(make.PETRA, day.project).get(address).content.decode()
        assert "petra" in text
        assert "through api: value" in text
        assert day.task.name in text
        assert f"execution {Execution.objects.get().pk}" in text
        assert VALUE not in text
        assert bytes(secret.ciphertext).decode() not in text
        assert self.signed_in(make.DANA, day.project).get(address).status_code in (302, 403)

    def test_a_change_through_the_admin_is_on_record(self) -> None:
        project = make.make_project()
        client = self.signed_in(make.PETRA, project)
        values = {"project": project.pk, "name": "TOKEN", "value": VALUE}
        client.post(reverse("admin:projects_secret_add"), values)
        secret = Secret.objects.get()
        assert secret.reveal() == VALUE
        address = reverse("admin:projects_secret_change", args=(secret.pk,))
        client.post(address, {"name": "TOKEN", "value": "another value"})
        secret.refresh_from_db()
        assert secret.reveal() == "another value"
        text = client.get(address).content.decode()
        assert text.count("petra") >= 2
        assert "another value" not in text


class TestRotation:
    OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()

    def rotate(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("rotate_keys", *arguments, stdout=out)
        return out.getvalue()

    def test_everything_gets_the_newest_key(self, settings: Any) -> None:
        settings.WEOPS_ENCRYPTION_KEYS = [self.OLD]
        project = make.make_project()
        for n in range(7):
            make.make_secret(project, f"S{n}", f"value {n}")
        stamps = list(Secret.objects.order_by("pk").values_list("updated_at", flat=True))
        settings.WEOPS_ENCRYPTION_KEYS = [self.NEW, self.OLD]
        make.make_secret(project, "NEWEST", "value new")
        with pytest.raises(CommandError, match="7 rows still need an older key"):
            self.rotate("--check")
        assert "secrets: 7 encrypted anew, 1 had the newest key" in self.rotate("--batch", "3")
        assert "secrets: 0 would be encrypted anew" in self.rotate("--check")
        settings.WEOPS_ENCRYPTION_KEYS = [self.NEW]
        assert sorted(secret.reveal() for secret in Secret.objects.all()) == [
            *(f"value {n}" for n in range(7)), "value new",
        ]  # fmt: skip
        assert list(Secret.objects.order_by("pk").values_list("updated_at", flat=True))[:7] == stamps

    def test_what_no_key_reads_is_named_and_left_alone(self, settings: Any) -> None:
        settings.WEOPS_ENCRYPTION_KEYS = [self.OLD]
        lost = make.make_secret(make.make_project(), "LOST")
        settings.WEOPS_ENCRYPTION_KEYS = [self.NEW]
        make.make_secret(lost.project, "GOOD")
        before = bytes(lost.ciphertext)
        with pytest.raises(CommandError, match=f"secret {lost.pk}"):
            self.rotate()
        lost.refresh_from_db()
        assert bytes(lost.ciphertext) == before

    def test_every_table_that_keeps_something_encrypted_is_known(self) -> None:
        """A new one that names its column otherwise would be forgotten by the rotation."""
        assert Secret in encrypted_models()
        assert encryption.is_newest(encryption.encrypt("x"))
        assert not encryption.is_newest(b"garbage")


def test_retention_removes_the_record_of_uses(worker: Runtime) -> None:
    run(worker, with_secret("true"))
    Instance.objects.update(created_at=JANUARY)
    maintenance.hourly()
    assert not SecretUse.objects.exists()
    assert not Execution.objects.exists()
