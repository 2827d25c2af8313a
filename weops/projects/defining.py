"""How what belongs to a project is made, changed and deleted, whatever the door: who may, which columns, what is held in use.

One `Definition` a noun; `weops.projects.definitions` and `instances.task_definitions` have them. Everything raises

    ValidationError     column -> messages that say what to write instead
    PermissionDenied    the user sees the project and lacks the right
    InUse               other rows hold on to it
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from weops.projects import access
from weops.projects.access import Right
from weops.projects.choices import choosable
from weops.projects.models import Project


class InUse(ValueError):
    """It cannot be deleted yet; the message says what holds it."""


def require(user: User | None, project: Project | int | None, *needed: Right) -> None:
    """Raises PermissionDenied unless `user` (None: the system) has all of `needed` in the project; None: is a superuser."""
    if user is None:
        return
    if project is None:
        if not access.is_superuser(user):
            raise PermissionDenied(_("Only a superuser may do this."))
        return
    if lacking := sorted(set(needed) - access.rights(user, project)):
        said = _("You do not have the right to %(rights)s in this project.")
        raise PermissionDenied(said % {"rights": access.words(lacking)})


Row = TypeVar("Row", bound=models.Model)


def note(row: models.Model, action: int, user: User | None, source: str, changed: Sequence[str] = ()) -> None:
    """Puts into the history that the admin shows what was done to a row, by whom (None: the system, of which nothing is kept)."""
    if user is not None:
        message = f"Through {source}{': ' if changed else ''}{', '.join(changed)}."
        LogEntry.objects.log_actions(user.pk, [row], action, message, single_object=True)


class Definition(Generic[Row]):
    """The rules of one noun.

    `columns`: what a door may set; `fixed`: those of them that stay as they were made. A foreign key is given as a row or as
    its id, and must be one that the user may choose: with `choice_rights[column]`, by default the right to view.
    """

    model: ClassVar[type[models.Model]]
    right: ClassVar[Right] = Right.AUTHOR
    columns: ClassVar[tuple[str, ...]]
    fixed: ClassVar[tuple[str, ...]] = ("project",)
    # The column that says in which project a new row is, judged before all others.
    anchor: ClassVar[str] = "project"
    fixed_words: ClassVar[Any] = gettext_lazy("It stays as it was made; make a new one instead.")
    choice_rights: ClassVar[dict[str, Right]] = {}

    def project_of(self, row: Row) -> Project | None:
        """Where the right is needed; None: it takes a superuser."""
        return getattr(row, "project", None)

    def held(self, row: Row) -> str:
        """What holds on to the row, in words, so that it cannot be deleted; '' if nothing does.

        Asked before Django collects what a deletion would take along, which could be millions of instances.
        """
        return ""

    def check(self, row: Row) -> None:
        """Raises ValidationError for what the model itself does not know to be wrong."""

    @transaction.atomic
    def create(self, values: Mapping[str, Any], *, user: User | None, source: str = "system") -> Row:
        row: Any = self.model()
        self.begin(row, values, user)
        self.set(row, values, user)
        require(user, self.project_of(row), self.right)
        self.save(row)
        self.log(row, ADDITION, user, source)
        return row

    @transaction.atomic
    def update(
        self, row: Row, values: Mapping[str, Any], *, user: User | None, source: str = "system"
    ) -> Row:
        """Sets the given columns, leaves the others. `row` is visible to the user."""
        require(user, self.project_of(row), self.right)
        changed = self.set(row, values, user)
        require(user, self.project_of(row), self.right)
        if changed:
            self.save(row)
            self.log(row, CHANGE, user, source, changed)
        return row

    @transaction.atomic
    def delete(self, row: Row, *, user: User | None, source: str = "system") -> None:
        require(user, self.project_of(row), self.right)
        self.check_unused(row)
        self.log(row, DELETION, user, source)
        try:
            row.delete()
        except ProtectedError:
            raise InUse(_("%(name)s is still in use; delete what uses it first.") % {"name": row}) from None

    def check_unused(self, row: Row) -> None:
        """Raises InUse."""
        if held := self.held(row):
            raise InUse(_("%(name)s cannot be deleted: %(held)s.") % {"name": row, "held": held})

    def begin(self, row: Row, values: Mapping[str, Any], user: User | None) -> None:
        """Who may make nothing in the project is told so first."""
        if self.anchor in self.columns and values.get(self.anchor) is not None:
            self.set(row, {self.anchor: values[self.anchor]}, user)
            require(user, self.project_of(row), self.right)

    def set(self, row: Row, values: Mapping[str, Any], user: User | None) -> list[str]:
        """Puts the values on the row, unsaved; the columns that differ now."""
        wrong: dict[str, list[str]] = {}
        changed = []
        for name, given in values.items():
            try:
                value = self.value_of(name, given, user)
            except ValidationError as error:
                wrong[name] = error.messages
                continue
            if row.pk is not None and name in self.fixed and value != getattr(row, name):
                wrong[name] = [str(self.fixed_words)]
            elif row._state.adding or value != getattr(row, name):
                setattr(row, name, value)
                changed.append(name)
        if wrong:
            raise ValidationError(wrong)
        return changed

    def value_of(self, name: str, given: Any, user: User | None) -> Any:
        """What stands in the column: for a foreign key the row, if the user may choose it. Raises ValidationError."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise ValidationError(_("There is no such field; there are %(known)s.") % {"known": known})
        field = self.model._meta.get_field(name)
        if given is None or not isinstance(field, models.ForeignKey):
            return given
        return self.chosen(field.remote_field.model, name, [given], user)[0]

    def chosen(
        self, model: type[models.Model], name: str, given: Sequence[Any], user: User | None
    ) -> list[Any]:
        """The rows that are meant, in the given order. Raises ValidationError."""
        ids = [getattr(one, "pk", one) for one in given]
        right = self.choice_rights.get(name, Right.VIEW)
        rows = model._default_manager.all() if user is None else choosable(model, user, right)
        try:
            found = rows.in_bulk(ids)
        except (TypeError, ValueError, OverflowError):
            raise ValidationError(_("Write ids, which are numbers.")) from None
        for one in ids:
            if one not in found:
                raise ValidationError(
                    _("There is no %(noun)s %(id)s that you may choose here.")
                    % {"noun": model._meta.verbose_name, "id": one}
                )
        return [found[one] for one in ids]

    def save(self, row: Row) -> None:
        try:
            row.full_clean()
            self.check(row)
            with transaction.atomic():
                row.save()
        except IntegrityError:
            raise ValidationError(_("Somebody else made the same just now; read it again.")) from None

    def log(self, row: Row, action: int, user: User | None, source: str, changed: Sequence[str] = ()) -> None:
        """Into the history that the admin shows."""
        note(row, action, user, source, changed)
