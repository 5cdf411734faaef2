"""The check of options that are sent to a server, a database or the resolver of host names."""

import click


def require_utf8(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Return a text if it is valid UTF-8, or raise ``click.BadParameter``.

    Click also takes other bytes, as the name of a file may have any.
    """
    try:
        if text is not None:
            text.encode()
    except UnicodeEncodeError:
        # Without the text, which may hold a password.
        raise click.BadParameter("the value is not valid UTF-8") from None
    return text
