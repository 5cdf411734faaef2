"""Bodies as the bytes that were meant: decompressed, and in UTF-8."""

import re
import zlib
from json import detect_encoding
from typing import Final

from fastapi import HTTPException, Request

from hl_sessions.server.http.rejections import InvalidRequestError, too_long

_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_HALVES: Final = re.compile("[\ud800-\udfff]")


def is_compressed(request: Request) -> bool:
    """Tell whether the body is compressed by gzip.

    Raises:
        HTTPException: When it is encoded in any other way.
    """
    given = [value for name, value in request.scope["headers"] if name == b"content-encoding"]
    encoding = b", ".join(given).strip().lower()
    if encoding in {b"gzip", b"x-gzip"}:
        return True
    if encoding not in {b"", b"identity"}:
        raise HTTPException(
            415, "The body may be compressed by gzip, and in no other way", {"Accept-Encoding": "gzip"}
        )
    return False


def decompress(body: bytes, limit: int) -> bytes:
    """Undo the compression by gzip.

    Args:
        body: What has arrived.
        limit: The longest result, in bytes; of a longer one no more than that is ever made.

    Raises:
        HTTPException: When the result is longer.
        InvalidRequestError: When the body was not compressed by gzip, or is not complete.
    """
    decompressor = zlib.decompressobj(_GZIP_FORMAT)
    try:
        plain = decompressor.decompress(body, limit + 1)
    except zlib.error:
        raise _not_compressed() from None
    if len(plain) > limit:
        raise HTTPException(413, too_long(limit))
    if not decompressor.eof or decompressor.unused_data:
        raise _not_compressed()
    return plain


def in_utf_8(json: bytes) -> tuple[bytes, int]:
    """Return JSON of any Unicode encoding in UTF-8, without a byte order mark.

    Returns:
        The JSON, and how many halves of surrogate pairs, which UTF-8 does not have, were replaced by U+FFFD.

    Raises:
        ValueError: When it is in none of these encodings.
    """
    encoding = detect_encoding(json)
    if encoding == "utf-8":
        return json, 0
    text, replaced = _HALVES.subn("\ufffd", json.decode(encoding, "surrogatepass"))
    return text.encode(), replaced


def _not_compressed() -> InvalidRequestError:
    return InvalidRequestError.at(("body",), "The body is not compressed by gzip, as its header says")
