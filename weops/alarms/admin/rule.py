"""Alarm rules: the list, the form that says in a sentence what will be alarmed, and a message to try it."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from weops.alarms import rules
from weops.alarms.admin.rule_form import RuleForm, sentences
from weops.alarms.models import Rule
from weops.alarms.testing import send_test
from weops.console.scoped import ScopedAdmin, VisibleFilter, signed_in
from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import Project


@admin.register(Rule)
class RuleAdmin(ScopedAdmin):
    list_display = ("name", "project", "level", "enabled", "sentence_cell", "updated_at")
    list_filter = (("project", VisibleFilter), "level", "enabled")
    list_select_related = ("project",)
    search_fields = ("name", "description")
    search_help_text = gettext_lazy("Name or description")
    ordering = ("project__name", "name")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets", "groups__people", "groups__channels")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        listed = getattr(response, "context_data", {}).get("cl")
        if listed is not None:
            rows = list(listed.result_list)
            for row, said in zip(
                rows, sentences([(rules.spec_of(row), row.project) for row in rows]), strict=True
            ):
                row.sentence = said
            listed.result_list = rows
        return response

    @admin.display(description=gettext_lazy("What it does"))
    def sentence_cell(self, rule: Any) -> str:
        return getattr(rule, "sentence", "")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("sentence/", view(self.sentence), name="alarms_rule_sentence"),
            path("<int:pk>/test/", view(self.test), name="alarms_rule_test"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        projects = access.projects_with(request.user, Right.AUTHOR)
        if not self.has_add_permission(request):
            raise PermissionDenied
        sent = request.POST.get("project") or request.GET.get("project", "")
        project = projects.filter(pk=int(sent)).first() if sent.isdecimal() and len(sent) < 18 else None
        if project is None:
            if projects.count() != 1:
                context = {**self._context(request, _("Add an alarm rule")), "projects": projects}
                return TemplateResponse(request, "alarms/rule_project.html", context)
            project = projects.get()
        return self._form_page(request, project, None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        rule = self._visible(request, object_id)
        if request.method == "POST" and not self.has_change_permission(request, rule):
            raise PermissionDenied
        return self._form_page(request, rule.project, rule)

    def _visible(self, request: HttpRequest, pk: Any) -> Rule:
        try:
            return rules.get(request.user, int(pk))
        except (Rule.DoesNotExist, ValueError, OverflowError):
            raise Http404(_("There is no such rule, or it is of a project that you cannot see.")) from None

    def _form_page(self, request: HttpRequest, project: Project, rule: Rule | None) -> HttpResponse:
        user = signed_in(request)
        form = RuleForm(user, project, rule, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            if rule is None:
                saved = rules.create(user, project, form.spec, source="admin")
            else:
                saved = rules.update(
                    user,
                    rule.pk,
                    source="admin",
                    **{name: getattr(form.spec, name) for name in form.spec.__dataclass_fields__},
                )
            messages.success(request, _("Saved: %s") % form.sentence())
            return redirect("admin:alarms_rule_change", saved.pk)
        context = {
            **self._context(request, rule.name if rule else _("Add an alarm rule")),
            "form": form,
            "project": project,
            "original": rule,
            "sentence": sentences([(rules.spec_of(rule), project)])[0] if rule else "",
            "may_change": self.has_change_permission(request, rule) if rule else True,
        }
        return TemplateResponse(request, "alarms/rule_form.html", context)

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title}

    @method_decorator(require_POST)
    def sentence(self, request: HttpRequest) -> HttpResponse:
        """What the form that was sent would alarm about, as plain text; what is wrong with it, by 422."""
        sent = request.POST.get("project", "")
        if not (sent.isdecimal() and len(sent) < 18):
            raise Http404
        project = access.projects_with(request.user, Right.AUTHOR).filter(pk=int(sent)).first()
        if project is None:
            raise Http404
        number = request.POST.get("rule", "")
        rule = self._visible(request, number) if number else None
        if rule is not None and rule.project_id != project.pk:
            raise Http404
        form = RuleForm(signed_in(request), project, rule, request.POST)
        if form.is_valid():
            return HttpResponse(form.sentence(), content_type="text/plain; charset=utf-8")
        said = " ".join(
            f"{form.fields[name].label if name in form.fields else ''}: {' '.join(map(str, errors))}"
            for name, errors in form.errors.items()
        )
        return HttpResponse(said, content_type="text/plain; charset=utf-8", status=422)

    @method_decorator(require_POST)
    def test(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Sends a message to all receivers of the rule, now, and says how it went."""
        rule = self._visible(request, pk)
        if not self.has_change_permission(request, rule):
            raise PermissionDenied
        for where, error in send_test(rule, signed_in(request), "admin"):
            if error:
                messages.error(request, f"{where}: {error}")
            else:
                messages.success(request, _("%s: sent.") % where)
        return redirect(reverse("admin:alarms_rule_change", args=(rule.pk,)))

    def in_use(self, obj: Any) -> bool:
        return False
