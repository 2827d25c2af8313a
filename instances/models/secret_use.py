"""Which executions were given which secrets: names and times, never values."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from instances.models.execution import Execution
from weops.projects.models import Secret


class SecretUse(models.Model):
    """`secret` was decrypted for `execution`. Written once a run, right before its child starts; removed with the execution.

    No database foreign keys: a secret may be deleted while the record of its use stays. Indexes: the primary key (what one
    execution used), `secret_use_newest` (who used a secret, the newest first).
    """

    pk = models.CompositePrimaryKey("execution_id", "secret_id")
    execution = models.ForeignKey(
        Execution, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="secret_uses"
    )
    secret = models.ForeignKey(
        Secret, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="uses"
    )
    name = models.CharField(max_length=100, help_text=_("As it was then."))
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["secret", "-execution"], name="secret_use_newest")]

    def __str__(self) -> str:
        return f"execution {self.execution_id} used {self.name}"
