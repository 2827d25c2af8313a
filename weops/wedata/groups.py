"""Resource groups: they serve all projects."""

from typing import Any

from weops.projects import access
from weops.projects.access import Right
from weops.projects.models import ResourceGroup
from weops.wedata import paging
from weops.wedata.dispatch import SEEN, Call, action
from weops.wedata.fields import Id, Many, Text


@action(
    "ListResourceGroups",
    SEEN,
    Type=Text(one_of=("Schedule", "Integration", "DataService")),
    Id=Id(),
    Name=Text(),
    ProjectIds=Many(of=Id()),
    **paging.fields(),
)
def list_resource_groups(call: Call) -> Any:
    for project_id in call["ProjectIds"] or ():
        call.project_of(project_id, Right.VIEW)
    rows = ResourceGroup.objects.order_by("name", "pk")
    if not access.has_anywhere(call.user, Right.VIEW) or call["Type"] in ("Integration", "DataService"):
        rows = rows.none()
    if call["Id"] is not None:
        rows = rows.filter(pk=call["Id"])
    if call["Name"]:
        rows = rows.filter(name__icontains=call["Name"])
    return paging.page(
        call,
        rows,
        lambda group: {
            "Id": str(group.pk),
            "Name": group.name,
            "Description": group.description,
            "ResourceGroupType": "Schedule",
        },
    )
