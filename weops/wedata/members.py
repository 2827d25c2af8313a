"""Members of projects, each in one role. Roles include those below them, so that of several the highest counts."""

from collections.abc import Iterable
from typing import Any

from weops.projects.access import Right
from weops.projects.definitions import MEMBERS, set_member
from weops.projects.models import Member, Role
from weops.wedata import accounts, paging
from weops.wedata.codes import ROLE_IDS, ROLES
from weops.wedata.dispatch import Call, action
from weops.wedata.errors import ApiError, bad_value
from weops.wedata.fields import Id, Many, Text
from weops.wedata.naming import named

_WORDS = {
    Role.VIEWER: "Sees tasks, instances and logs.",
    Role.OPERATOR: "Reruns, terminates, marks as successful, runs backfills.",
    Role.DEVELOPER: "Edits workflows and tasks, too.",
    Role.ADMIN: "Administers members, secrets and data sources, too.",
}
_ROLE_IDS = Many(of=Text(one_of=tuple(ROLES)), required=True, most=len(ROLES))
_RANK = {role: rank for rank, role in enumerate(ROLES.values())}


def _role(role: str) -> dict[str, Any]:
    return {
        "RoleId": ROLE_IDS[role],
        "RoleName": role,
        "RoleDisplayName": str(Role(role).label),
        "Description": _WORDS[Role(role)],
    }


def _highest(role_ids: Iterable[str]) -> str:
    return max((ROLES[one] for one in role_ids), key=_RANK.__getitem__)


@action("ListProjectRoles", Right.VIEW, RoleDisplayName=Text(), **paging.fields())
def list_project_roles(call: Call) -> Any:
    wanted = (call["RoleDisplayName"] or "").casefold()
    roles = [role for role in ROLES.values() if wanted in str(Role(role).label).casefold()]
    return paging.page(call, roles, _role)


@action("ListProjectMembers", Right.VIEW, UserName=Text(), UserUin=Text(), **paging.fields())
def list_project_members(call: Call) -> Any:
    rows = Member.objects.filter(project=call.project).select_related("user").order_by("user__username")
    if call["UserName"]:
        rows = rows.filter(user__username__icontains=call["UserName"])
    if call["UserUin"]:
        rows = rows.filter(user__id__icontains=call["UserUin"])

    def show(member: Member) -> dict[str, Any]:
        user = member.user
        return {
            "UserUin": str(user.pk),
            "UserName": user.get_username(),
            "DisplayName": user.get_full_name() or user.get_username(),
            "Roles": [_role(member.role)],
            "Email": user.email or None,
        }

    return paging.page(call, rows, show)


@action("CreateProjectMember", Right.ADMINISTER, UserUins=Many(of=Id(), required=True), RoleIds=_ROLE_IDS)
def create_project_member(call: Call) -> Any:
    role = _highest(call["RoleIds"])
    for member in accounts.read_many(call, "UserUins", call["UserUins"]):
        with named({"user": "UserUins", "role": "RoleIds"}):
            set_member(call.project, member, role, user=call.user, source="wedata")
    return {"Status": True}


@action("DeleteProjectMember", Right.ADMINISTER, UserUins=Many(of=Id(), required=True))
def delete_project_member(call: Call) -> None:
    """Who is no member is none afterwards either."""
    rows = Member.objects.filter(project=call.project, user__in=call["UserUins"]).select_related(
        "user", "project"
    )
    for member in rows:
        with named({}, "UserUins"):
            MEMBERS.delete(member, user=call.user, source="wedata")


def _member(call: Call) -> Member:
    rows = Member.objects.filter(project=call.project, user=call["UserUin"]).select_related("user", "project")
    member: Member = call.found(rows.first(), "member", call["UserUin"])
    return member


@action("GrantMemberProjectRole", Right.ADMINISTER, UserUin=Id(required=True), RoleIds=_ROLE_IDS)
def grant_member_project_role(call: Call) -> None:
    member = _member(call)
    role = max(member.role, _highest(call["RoleIds"]), key=_RANK.__getitem__)
    with named({"role": "RoleIds"}):
        MEMBERS.update(member, {"role": role}, user=call.user, source="wedata")


@action("RemoveMemberProjectRole", Right.ADMINISTER, UserUin=Id(required=True), RoleIds=_ROLE_IDS)
def remove_member_project_role(call: Call) -> None:
    """Who loses a role is an ordinary member then."""
    member = _member(call)
    removed = {ROLES[one] for one in call["RoleIds"]}
    if member.role not in removed:
        raise bad_value(
            "RoleIds", f"{member.user} has the role {member.role} alone ({ROLE_IDS[member.role]})."
        )
    if member.role == Role.VIEWER:
        raise ApiError(
            "UnsupportedOperation", "Every member is at least an ordinary member; use DeleteProjectMember."
        )
    with named({"role": "RoleIds"}):
        MEMBERS.update(member, {"role": Role.VIEWER}, user=call.user, source="wedata")
