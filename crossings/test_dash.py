"""Dash."""

# /// script
# dependencies = ["dash==4.4.1"]
# ///

from dash import Dash, Input, Output, dcc, html

from hl_sessions import SessionManager, current_session_id
from hl_sessions.integrations.flask import HLSessions


def test_a_callback_has_the_session_of_its_own_request(manager: SessionManager) -> None:
    app = Dash("test")
    app.layout = html.Div([dcc.Input(id="question"), html.Div(id="answer")])
    HLSessions(app.server, manager)

    @app.callback(Output("answer", "children"), Input("question", "value"))
    def answer(question: str) -> str:
        return str(current_session_id())

    client = app.server.test_client()
    call = {
        "output": "answer.children",
        "outputs": {"id": "answer", "property": "children"},
        "inputs": [{"id": "question", "property": "value", "value": "Why?"}],
        "changedPropIds": ["question.value"],
    }
    seen = [
        client.post("/_dash-update-component", json=call).json["response"]["answer"]["children"]
        for _ in range(2)
    ]
    assert all(each.startswith("sesh_") for each in seen)
    assert seen[0] != seen[1]
