"""The reasons why a well-formed request is refused."""


class InvalidEntryError(Exception):
    """An entry of a request contradicts the stored records, so nothing of the request is stored.

    Args:
        index: The place of the entry in the request.
        field: The field that is wrong.
        message: The problem.
    """

    def __init__(self, index: int, field: str, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.field = field
        self.message = message


class UnknownLogError(Exception):
    """An entry of a request names an unknown datapoint, so nothing of the request is done.

    Args:
        index: The place of the entry in the request.
        by: The field that names the datapoint.
        name: The value of this field.
    """

    def __init__(self, index: int, by: str, name: str) -> None:
        super().__init__("there is no such datapoint")
        self.index = index
        self.by = by
        self.name = name


def absence(kind: str, name: str) -> str:
    """Return the message that a record does not exist.

    Args:
        kind: The kind of the record, such as ``session``.
        name: Its ID.
    """
    return f"There is no {kind} {name!r}: it was deleted, or never existed"


class UnknownSubjectError(Exception):
    """Feedback has an unknown subject, so nothing of the request is done.

    Args:
        kind: The kind of the subject, such as ``session``.
        subject_id: The ID that the feedback names it by.
    """

    def __init__(self, kind: str, subject_id: str) -> None:
        super().__init__(absence(kind, subject_id))


class KeyReusedError(Exception):
    """A request has the idempotency key of another, finished request."""

    def __init__(self) -> None:
        super().__init__("another request had this idempotency key")


class RequestUnderWayError(Exception):
    """A request has the idempotency key of an unfinished request."""

    def __init__(self) -> None:
        super().__init__("a request with this idempotency key is under way")
