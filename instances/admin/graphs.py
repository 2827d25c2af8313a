"""Pages and data of graphs: the lineage of an instance, as a picture or a list, and the tasks of a workflow."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from instances.admin.looks import STATE_LOOKS
from instances.insight.graph import MARKS, Graph, Node
from instances.insight.lineage import MOST_LAYERS, lineage
from instances.insight.picking import Opened
from instances.insight.workflow_graph import workflow_graph
from instances.kinds import KINDS
from instances.models import Instance, Workflow
from weops.console.present import stamp

LAYERS = (0, 1, 2, 3, 5, 10, 30)
# Of a graph to pick from, which leads downstream only.
PICKING_LAYERS = {"choices": LAYERS[1:], "down": 1}
# Nodes that one opened by hand, all in one address.
MOST_OPENED = 200


def _pattern(name: str, *args: Any) -> str:
    """An address with {id} in the place of the number 0, which no row has."""
    return reverse(name, args=args).replace("/0/", "/{id}/")


def number(request: HttpRequest, name: str, default: int, most: int = MOST_LAYERS) -> int:
    """A number of the address between 0 and `most`; `default` for anything else."""
    text = request.GET.get(name, "")
    return min(most, int(text)) if text.isdecimal() and len(text) < 6 else default


def _ids(text: str) -> list[int]:
    parts = text.split(",")[:MOST_OPENED]
    return [int(part) for part in parts if part.isdecimal() and len(part) <= 18]


def _read(request: HttpRequest, instance: Instance) -> Graph:
    graph = lineage(
        instance,
        request.user,
        up=number(request, "up", 1),
        down=number(request, "down", 1),
        open_up=_ids(request.GET.get("open_up", "")),
        open_down=_ids(request.GET.get("open_down", "")),
    )
    change = _pattern("admin:instances_instance_change", 0)
    graph.links = {
        "open": change,
        "log": f"{change}#h-log",
        "centre": _pattern("admin:instances_instance_lineage", 0),
        "operate": reverse("admin:instances_instance_operate", args=("KIND",)).replace("KIND", "{kind}")
        + "?ids={id}",
    }
    offered = {kind for node in graph.nodes for kind in node.operations}
    graph.kinds = {kind: {"title": KINDS[kind].title, "icon": KINDS[kind].icon} for kind in sorted(offered)}
    return graph


def lineage_data(request: HttpRequest, instance: Instance) -> HttpResponse:
    """The JSON of docs/graph-format.md."""
    return JsonResponse(_read(request, instance).as_json())


def layers_of(request: HttpRequest) -> dict[str, Any]:
    """What the choice of layers offers and has chosen."""
    return {"choices": LAYERS, "up": number(request, "up", 1), "down": number(request, "down", 1)}


def lineage_page(request: HttpRequest, instance: Instance, context: dict[str, Any]) -> HttpResponse:
    """The whole page: a picture, or with `mode=list` a list by layers."""
    listed = request.GET.get("mode") == "list"
    context |= {
        "title": _("Lineage of %(name)s") % {"name": instance.task.name},
        "instance": instance,
        "original": instance,
        "data_time": stamp(instance.data_time, instance.task.timezone, named=True),
        "mode": "list" if listed else "graph",
        "layers": layers_of(request),
        "choices": LAYERS,
    }
    if listed:
        graph = _read(request, instance)
        context |= {"note": graph.note, "groups": _by_layer(graph)}
    return TemplateResponse(request, "instances/lineage.html", context)


def _by_layer(graph: Graph) -> list[dict[str, Any]]:
    """Farthest upstream first, each layer with its rows: a node, its address and how its state looks."""
    layers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        layers.setdefault(node.level, []).append(node)
    return [
        {
            "level": level,
            "distance": abs(level),
            "rows": [
                {
                    "node": node,
                    "mark": MARKS[node.state],
                    "icon": STATE_LOOKS[node.state].icon if node.state in STATE_LOOKS else "pending",
                }
                for node in sorted(layers[level], key=lambda node: (node.title, node.subtitle))
            ],
        }
        for level in sorted(layers)
    ]


def opened_of(request: HttpRequest) -> Opened:
    """How much of what lies downstream is asked for, by the form that picks from it."""
    sent = request.POST
    layers = sent.get("down", "")
    return Opened(
        layers=int(layers) if layers.isdecimal() and len(layers) < 3 else 1,
        ids=_ids(sent.get("open_down", "")),
        branches=_ids(sent.get("branches", "")),
    )


def picking_data(graph: Graph, page: str) -> HttpResponse:
    """The JSON of docs/graph-format.md; `page`: the name of the address of a node's page."""
    graph.links = {"open": _pattern(page, 0)}
    return JsonResponse(graph.as_json())


def instances_data(graph: Graph) -> HttpResponse:
    """Of nodes that are instances, each with its page and its log."""
    change = _pattern("admin:instances_instance_change", 0)
    graph.links = {
        "open": change,
        "log": f"{change}#h-log",
        "centre": _pattern("admin:instances_instance_lineage", 0),
    }
    return JsonResponse(graph.as_json())


def workflow_data(request: HttpRequest, workflow: Workflow) -> HttpResponse:
    graph = workflow_graph(workflow, request.user)
    graph.links = {"open": _pattern("admin:instances_task_change", 0)}
    return JsonResponse(graph.as_json())
