"""Why a request is not done, though its form is right."""


class InvalidEntryError(Exception):
    """An entry of a request contradicts what is stored, so nothing of the request is.

    Args:
        index: Which one of the entries that were given.
        field: The field that is wrong.
        message: What is wrong with it.
    """

    def __init__(self, index: int, field: str, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.field = field
        self.message = message


class UnknownLogError(Exception):
    """An entry of a request is about a datapoint that is not there, so nothing of the request is done.

    Args:
        index: Which one of the entries that were given.
        by: What it names the datapoint by.
        name: The name.
    """

    def __init__(self, index: int, by: str, name: str) -> None:
        super().__init__("there is no such datapoint")
        self.index = index
        self.by = by
        self.name = name


def absence(kind: str, name: str) -> str:
    """Say that something is not there.

    Args:
        kind: What it should be, such as ``session``.
        name: Its ID.
    """
    return f"There is no {kind} {name!r}: it was deleted, or never was"


class UnknownSubjectError(Exception):
    """Feedback is about something that is not there, so nothing of the request is done.

    Args:
        kind: What it should be, such as ``session``.
        subject_id: Its ID.
    """

    def __init__(self, kind: str, subject_id: str) -> None:
        super().__init__(absence(kind, subject_id))


class KeyReusedError(Exception):
    """A request has the idempotency key of another one, which was done."""

    def __init__(self) -> None:
        super().__init__("another request had this idempotency key")


class RequestUnderWayError(Exception):
    """A request has the idempotency key of one that is not done yet."""

    def __init__(self) -> None:
        super().__init__("a request with this idempotency key is under way")
