"""Operating through the pages as a browser does: look at a preview, send its token back."""

from typing import Any

from django.test import Client
from django.urls import reverse

from instances.models import Instance


def address(kind: str) -> str:
    return reverse("admin:instances_instance_operate", args=(kind,))


def state(instance: Instance) -> str:
    return Instance.objects.values_list("state", flat=True).get(pk=instance.pk)


def previewed(client: Client, kind: str, sent: dict[str, Any]) -> Any:
    """The page with its preview."""
    answer = client.post(address(kind), sent)
    assert answer.status_code == 200
    assert answer.context["preview"] is not None, answer.context["form"].errors
    return answer


def apply(client: Client, kind: str, sent: dict[str, Any], answer: Any) -> Any:
    """Applies what the page `answer` previewed; the page that follows."""
    preview = answer.context["preview"]
    again = {**sent, "token": preview.token if preview else "", "apply": "1"}
    return client.post(address(kind), again, follow=True)


def operate(client: Client, kind: str, sent: dict[str, Any]) -> Any:
    """Previews and applies."""
    return apply(client, kind, sent, previewed(client, kind, sent))
