"""Logging datapoints: the one place of the chat application that knows of sessions."""

import logging
from collections.abc import Mapping
from typing import Final

import requests

from hl_sessions import current_session
from hl_sessions.demo.api import API

PROJECT: Final = "demo"
"""The name of the project that all datapoints of the demo are in."""

logger: Final = logging.getLogger("hl_sessions.demo")


class DatapointLog:
    """Logs datapoints under the current session.

    Args:
        api: The API to log to.
    """

    def __init__(self, api: API) -> None:
        self._api = api

    def __call__(self, step: str, *, ran_in: str, inputs: Mapping[str, str], output: str) -> None:
        """Log what a step made of its inputs; blocks until the API has it.

        Args:
            step: The name of the step.
            ran_in: The kind of code that the step ran in, for the reader of the log.
            inputs: What went into the step.
            output: What came out of it.
        """
        datapoint = {
            "project": PROJECT,
            "source": step,
            "metadata": {"ran_in": ran_in},
            "inputs": inputs,
            "output": output,
        }
        session = current_session()
        if session is not None:
            datapoint |= session.log_params()
        try:
            self._api.post("/logs", datapoint)
        except requests.RequestException as error:
            # A chat is not to fail because its log does.
            logger.warning("the datapoint of the step %r was not logged: %s", step, error)
