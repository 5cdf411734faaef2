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


class KeyReusedError(Exception):
    """A request has the idempotency key of another one, which was done."""

    def __init__(self) -> None:
        super().__init__("another request had this idempotency key")


class RequestUnderWayError(Exception):
    """A request has the idempotency key of one that is not done yet."""

    def __init__(self) -> None:
        super().__init__("a request with this idempotency key is under way")
