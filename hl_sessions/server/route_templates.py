"""Which route an endpoint serves: a name for requests of which there are only as many as there are routes."""

from collections.abc import Iterable, Mapping

from starlette.routing import BaseRoute, Mount, Route


def route_templates(routes: Iterable[BaseRoute], prefix: str = "") -> Mapping[object, str]:
    """Give the template, such as ``/sessions/{session_id}``, for each endpoint that a request can have.

    Args:
        routes: The routes, with what is mounted on them.
        prefix: What stands before their paths.
    """
    templates: dict[object, str] = {}
    for route in routes:
        if isinstance(route, Route):
            templates[route.endpoint] = prefix + route.path
        elif isinstance(route, Mount):
            if route.routes:
                templates.update(route_templates(route.routes, prefix + route.path))
            else:
                templates[route.app] = f"{prefix}{route.path}/{{path}}"
    return templates
