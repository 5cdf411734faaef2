"""HTTP with one API: requests go out, answers are read within bounds, failures become our errors."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from hl_sessions.client.answers import is_success
from hl_sessions.client.connections import DeadlineAdapter
from hl_sessions.client.failures import Failures
from hl_sessions.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    HLSessionsError,
    InvalidResponseError,
)
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hl_sessions.client.deadline import Deadline

__all__ = ["Transport"]

MAX_BODY = 1 << 20  # bytes
FIRST_PATCH_OF_URLLIB3_FUTURE = 900  # its versions are 2.25.904 and the like


class Transport:
    """The connections to one API, safe to share between threads and forked processes.

    Args:
        base_url: the URL of the API.
        headers: what each request has.
        api_key: the key among them, which no error shows; ``None``: there is none.
        retries: how many more attempts follow a failed one.

    Raises:
        ConfigurationError: another library stands in the place of urllib3.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str], api_key: str | None, retries: int) -> None:
        _check_urllib3()
        self._base_url = base_url
        self._headers = headers
        self._retries = retries
        self._failures = Failures(base_url, api_key)
        self._closed = False
        self._keeps_connections = True
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._http = requests.Session()
        self._http.headers.clear()  # "Connection: keep-alive" among them, which HTTP/1.1 does without
        self._http.headers.update(self._headers)
        adapter = DeadlineAdapter(self._retries)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        self._environment = self._http.merge_environment_settings(
            self._base_url, {}, stream=True, verify=None, cert=None
        )

    def close(self) -> None:
        """Close the connections. A call that is under way still gets its answer; a later one fails."""
        self._closed = True
        self._http.close()

    def retire(self) -> None:
        """Close the connections, and each one that is in use, now or later, when its exchange ends."""
        self._keeps_connections = False
        self._http.close()

    def prepare(
        self, method: str, path: str, query: Mapping[str, str | int] | None = None
    ) -> requests.PreparedRequest:
        """Build a request to a path below the URL of the API."""
        # No netrc: the key is the only credential, and only the caller says which.
        return self._http.prepare_request(
            requests.Request(method, self._base_url + path, params=query, auth=lambda request: request)
        )

    def exchange(
        self, request: requests.PreparedRequest, deadline: Deadline, *, is_read: bool
    ) -> requests.Response:
        """Send a request, and return the answer, whatever its status.

        Args:
            request: what :meth:`prepare` has built.
            deadline: when the answer has to be complete.
            is_read: read the content of a successful answer, too, as of any other.

        Raises:
            APIConnectionError: there is no answer, or this is closed.
            APITimeoutError: there is none within the deadline.
            InvalidResponseError: the answer is too long, or not HTTP.
        """
        try:
            answer = self._send(request, deadline)
            if is_read or not is_success(answer):
                answer._content, answer._content_consumed = self._read(answer), True
        finally:
            if (
                self._closed or not self._keeps_connections
            ):  # meanwhile: the connection that was in use then has been kept again
                self._http.close()
        return answer

    def content(self, answer: requests.Response) -> Any:
        """Return the JSON of an answer that was read.

        Raises:
            InvalidResponseError: it is not JSON.
        """
        with suppress(ValueError, RecursionError):
            return json.loads(answer.content)
        # Not chained, as what the decoder raises holds the whole body.
        raise self._failures.no_json(answer)

    def status_error(self, answer: requests.Response, seconds: float) -> APIStatusError:
        """Return the error that an answer is which is no success, ``seconds`` after it was asked for."""
        return self._failures.status(answer, seconds)

    def _send(self, request: requests.PreparedRequest, deadline: Deadline) -> requests.Response:
        if self._closed:
            raise APIConnectionError("the client is closed; make a new one")
        if not deadline.remaining():
            raise APITimeoutError(f"no time was left to ask {self._base_url}")
        try:
            options: dict[str, Any] = {"timeout": deadline, **self._environment}
            # The adapter itself: a session adds cookies, redirects and hooks, and none are wanted.
            return self._http.get_adapter(self._base_url).send(request, **options)
        except Exception as error:
            # A hostile answer can fail anywhere below.
            if is_interruption(error):
                raise
            failure = self._failures.no_answer(error)
        # Out here, as the error's context would hold the request, and with it the key.
        raise failure

    def _read(self, answer: requests.Response) -> bytes:
        content = bytearray()
        try:
            # As it came: an answer that is encoded nevertheless could grow without limit when decoded.
            for chunk in answer.raw.stream(MAX_BODY, decode_content=False):
                content += chunk
                if len(content) > MAX_BODY:
                    break
            else:
                return bytes(content)
            failure: HLSessionsError = InvalidResponseError(
                f"the sessions API answered with more than {MAX_BODY} bytes"
            )
        except Exception as error:
            if is_interruption(error):  # as above
                raise
            failure = self._failures.no_answer(error)
        finally:
            answer.close()
        raise failure


def _check_urllib3() -> None:
    # niquests brings another library along, which writes itself over the package urllib3. With niquests
    # 3.21.2 a time limit of one second took more than forty.
    version = urllib3.__version__  # type: ignore[attr-defined]
    patch = version.rpartition(".")[2]
    if patch.isdecimal() and int(patch) >= FIRST_PATCH_OF_URLLIB3_FUTURE:
        raise ConfigurationError(
            f"urllib3 {version} is urllib3-future, which niquests puts in the place of urllib3: the time"
            " limits of this client do not hold on it. Install niquests with URLLIB3_NO_OVERRIDE=1 and"
            " --no-binary urllib3-future, or in another environment"
        )
