"""What a worker loads: ``procrastinate --app procrastinate_application.app worker``."""

import os

from procrastinate import App, PsycopgConnector

from hl_sessions import log
from hl_sessions.integrations.procrastinate import connect

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))
connect(app)


@app.task(name="log_datapoint")
def log_datapoint() -> None:
    log(project="bot", source="in a job")
