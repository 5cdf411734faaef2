import re
from typing import Any


def places_of(reader: Any, text: str) -> list[tuple[str, str]]:
    """Return the kinds and paths of the results in the dialog to jump."""
    page = reader.get("/places", params={"q": text}).text
    return [(kind, path) for path, kind in re.findall(r'href="([^"]+)">.*<span class="muted">(\w+)<', page)]


def test_ids_references_and_names_lead_to_their_pages(reader: Any, unique: str) -> None:
    """Any part of a name, a whole ID or a whole reference leads there, and nothing else."""
    created = reader.log(project=f"Named {unique}", session_reference_id=f"s {unique}", reference_id=unique)
    session = ("Session", f"/sessions/{created['session_id']}")
    datapoint = ("Datapoint", f"/datapoints/{created['id']}")
    project = ("Project", f"/?project={created['project_id']}")
    assert places_of(reader, created["session_id"]) == [session]
    assert places_of(reader, f"s {unique}") == [session]
    assert places_of(reader, created["id"]) == [datapoint]
    assert places_of(reader, created["project_id"]) == [project]
    assert places_of(reader, unique) == [datapoint, project]
    assert places_of(reader, f"named {unique[:-1]}") == [project]
    assert places_of(reader, "") == places_of(reader, " ")
    assert ("Page", "/activity") in places_of(reader, "")
    assert reader.get("/places", params={"q": "a\0b"}).status_code == 422


def test_nothing_of_another_organisation_is_offered(locked_server: Any, unique: str) -> None:
    """Neither by name, nor by any ID."""
    owner, stranger = (locked_server.reader(f"{name} {unique}")[0] for name in ("owner", "stranger"))
    created = owner.log(project=unique, session_reference_id=unique)
    for text in (unique, created["id"], created["session_id"], created["project_id"]):
        assert places_of(owner, text)
        assert places_of(stranger, text) == []
    assert stranger.get(f"/datapoints/{created['id']}").status_code == 404
