"""The types of feedback of a project, as its readers change them."""

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from hl_sessions.server.database.tables import projects
from hl_sessions.server.page.queries.giving import UnfitFeedbackError
from hl_sessions.server.protocol.feedback_types import FeedbackType, FeedbackTypes
from hl_sessions.server.records.projects import define_feedback_types

_TYPES: TypeAdapter[list[FeedbackType]] = TypeAdapter(FeedbackTypes)


def replace_type(
    connection: Connection, organisation_id: int, project_id: str, name: str, wanted: FeedbackType | None
) -> bool | UnfitFeedbackError:
    """Define, change or remove a type of feedback; existing feedback stays.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the reader.
        project_id: The ID of the project.
        name: The name of the type.
        wanted: The type; ``None`` to remove it.

    Returns:
        Whether the organisation has such a project; or the reason why nothing has changed.
    """
    found = connection.execute(
        select(projects.c.feedback_types)
        .where(projects.c.id == project_id, projects.c.organisation_id == organisation_id)
        .with_for_update(key_share=True)
    ).one_or_none()
    if found is None:
        return False
    others = [one for one in found.feedback_types or () if one["type"] != name]
    try:
        types = _TYPES.validate_python(others if wanted is None else [*others, wanted])
    except ValidationError as error:
        problem = error.errors()[0]
        field = next((str(part) for part in reversed(problem["loc"]) if isinstance(part, str)), "type")
        return UnfitFeedbackError(f"{field}: {problem['msg'].removeprefix('Value error, ')}")
    define_feedback_types(connection, organisation_id, project_id, types)
    return True
