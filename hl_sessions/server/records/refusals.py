"""What the database cannot take, by its place in the request."""


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
