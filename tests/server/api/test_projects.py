import re
from typing import Any

import pytest
import requests

from hl_sessions.server.records import deleting
from tests.servers import served
from tests.waiting import PATIENCE


def make(client: Any, name: str) -> dict[str, Any]:
    response = client("POST", "/projects", json={"name": name})
    assert response.status_code == 201
    project: dict[str, Any] = response.json()
    return project


def test_a_new_project_is_there_and_empty(client: Any, unique: str) -> None:
    """Creating answers 201 with the whole project; a datapoint finds it by its name."""
    project = make(client, unique)
    assert re.fullmatch(r"pr_[A-Za-z0-9_-]{20,}", project["id"])
    assert (project["name"], project["data_count"], project["users"]) == (unique, 0, [])
    assert client.log(project=unique)["project_id"] == project["id"]
    assert client.ok("GET", f"/projects/{project['id']}") == {**project, "data_count": 1}


def test_a_project_is_renamed(client: Any, unique: str) -> None:
    """The change keeps the ID and its datapoints; without a name nothing changes."""
    project = make(client, unique)
    log_id = client.log(project=unique)["id"]
    path = f"/projects/{project['id']}"
    renamed = client.ok("PATCH", path, json={"name": f"{unique} 2"})
    assert renamed.pop("updated_at") > project.pop("updated_at")
    assert renamed == {**project, "name": f"{unique} 2", "data_count": 1}
    assert client.ok("GET", f"/logs/{log_id}")["project"] == f"{unique} 2"
    # A project may keep its own name.
    assert client.ok("PATCH", path, json={"name": f"{unique} 2"})["name"] == f"{unique} 2"
    assert client.ok("PATCH", path, json={"unknown": "field"})["name"] == f"{unique} 2"


def test_a_deleted_project_takes_its_datapoints_along(client: Any, unique: str) -> None:
    """Sessions, and datapoints of other projects, stay, and the name is free again."""
    session_id = client.new_session()
    other = client.log(project=f"{unique} 2", session_id=session_id, output="kept")
    log = client.log(project=unique, session_id=session_id, output="gone", feedback={"type": "a", "value": 1})
    child = client.log(project=f"{unique} 2", parent_id=log["id"], output="last")
    response = client("DELETE", f"/projects/{log['project_id']}")
    assert (response.status_code, response.content) == (204, b"")
    for path in (f"/projects/{log['project_id']}", f"/logs/{log['id']}"):
        assert client("GET", path).status_code == 404
    assert client("DELETE", f"/projects/{log['project_id']}").status_code == 404
    assert client.ok("GET", f"/logs/{other['id']}")["output"] == "kept"
    assert "parent_id" not in client.ok("GET", f"/logs/{child['id']}")
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session["datapoints_count"] == 2
    assert [project["name"] for project in session["projects"]] == [f"{unique} 2"]
    assert session["last_output"] == "last"
    assert make(client, unique)["id"] != log["project_id"]


def test_a_large_project_is_deleted_in_steps(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is a transaction of its own, and after the last one nothing is left."""
    # As on a slow machine, where a step ends as soon as it can.
    monkeypatch.setattr(deleting, "_LONGEST", 0)
    with served(database) as base_url, requests.Session() as http:

        def call(method: str, path: str, **options: Any) -> requests.Response:
            return http.request(method, base_url + path, timeout=PATIENCE, **options)

        def log(number: int, project: str) -> Any:
            given = [{"project": project, "session_reference_id": "session"}] * number
            return call("POST", "/logs", json=given).json()[0]

        deleted, kept = [log(120, "deleted") for _ in range(2)], log(1, "kept")
        before = commits(base_url)
        assert call("DELETE", f"/projects/{deleted[0]['project_id']}").status_code == 204
        assert commits(base_url) - before == 3
        for path in (f"/projects/{deleted[0]['project_id']}", *(f"/logs/{one['id']}" for one in deleted)):
            assert call("GET", path).status_code == 404
        session = call("GET", f"/sessions/{kept['session_id']}").json()
        assert session["datapoints_count"] == 1
        assert [project["name"] for project in session["projects"]] == ["kept"]


def commits(base_url: str) -> float:
    """Return how many transactions have been written for requests."""
    text = requests.get(f"{base_url.removesuffix('/v4')}/metrics", timeout=PATIENCE).text
    [count] = re.findall(r"^hl_sessions_database_writes_per_commit_count (\S+)$", text, re.MULTILINE)
    return float(count)


def test_a_taken_name_is_refused(client: Any, unique: str) -> None:
    """Neither a new project nor a renamed one gets the name of another."""
    make(client, unique)
    other = make(client, f"{unique} 2")
    for method, path in (("POST", "/projects"), ("PATCH", f"/projects/{other['id']}")):
        response = client(method, path, json={"name": unique})
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["body", "name"]
    assert client.ok("GET", f"/projects/{other['id']}")["name"] == f"{unique} 2"


def test_projects_are_filtered_and_sorted(client: Any, unique: str) -> None:
    """The filter is a text in the name, regardless of case, without special characters."""
    for name in ("b_1", "Ä 100%", "C"):
        make(client, f"{unique} {name}")

    def names(**parameters: Any) -> list[str]:
        page = client.ok("GET", "/projects", params=parameters)
        assert page["total"] == len(page["records"])
        return [project["name"].removeprefix(f"{unique} ") for project in page["records"]]

    assert names(filter=unique.upper()) == ["C", "Ä 100%", "b_1"]
    assert names(filter=unique, order="asc") == ["b_1", "Ä 100%", "C"]
    assert names(filter=unique, sort_by="name", order="desc")[-1] in {"C", "b_1"}
    assert names(filter=f"{unique} ä 100%") == ["Ä 100%"]
    assert names(filter=f"{unique} b%") == []
    assert names(filter=f"{unique} b-1") == []
    page = client.ok("GET", "/projects", params={"filter": unique, "page": 2, "size": 2})
    assert (page["page"], page["size"], page["total"]) == (2, 2, 3)
    assert [project["name"] for project in page["records"]] == [f"{unique} b_1"]


def test_page_0_of_projects_and_of_logs_is_the_first(client: Any, unique: str) -> None:
    """The published API has it as a default there, and the vendor's examples send it."""
    project_id = client.log(project=unique)["project_id"]
    for path, name, value in (("/projects", "filter", unique), ("/logs", "project_id", project_id)):
        pages = [client.ok("GET", path, params={name: value, "page": page, "size": 1}) for page in (0, 1, 2)]
        assert pages[0] == pages[1] != pages[2]
        assert [page["page"] for page in pages] == [1, 1, 2]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/projects/pr_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("PATCH", "/projects/pr_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("DELETE", "/projects/pr_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("GET", "/projects/1", 422),
        ("PATCH", "/projects/1", 422),
        ("DELETE", "/projects/1", 422),
        ("GET", "/projects?sort_by=size", 422),
        ("GET", "/projects?order=up", 422),
        ("GET", "/projects?page=-1", 422),
        ("GET", "/projects?size=101", 422),
        ("GET", "/projects?filter=%00", 422),
        ("GET", "/projects?user_filter=me", 422),
    ],
)
def test_an_unknown_project_is_not_found_and_what_is_malformed_invalid(
    client: Any, method: str, path: str, status: int
) -> None:
    """404 is for IDs that are well-formed; unknown parameters are refused."""
    assert client(method, path, json={"name": "x"}).status_code == status


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": 5}, {"name": None}, {"name": "x" * 513}, [], "x"]
)
def test_a_project_without_a_name_is_refused(client: Any, body: Any) -> None:
    """A name is a text of 1 to 512 characters."""
    assert client("POST", "/projects", json=body).status_code == 422
