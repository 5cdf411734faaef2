"""Decodes bodies: decompresses gzip, and turns other encodings into UTF-8."""

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
        HTTPException: When the body is encoded in any other way.
    """
    given = [value for name, value in request.scope["headers"] if name == b"content-encoding"]
    encoding = b", ".join(given).strip().lower()
    if encoding in {b"gzip", b"x-gzip"}:
        return True
    if encoding not in {b"", b"identity"}:
        raise HTTPException(415, "The body may be compressed by gzip only", {"Accept-Encoding": "gzip"})
    return False


def decompress(body: bytearray, limit: int) -> bytes:
    """Decompress a gzip body.

    Args:
        body: The compressed body.
        limit: The longest result, in bytes; decompression stops there.

    Raises:
        HTTPException: When the result is longer.
        InvalidRequestError: When the body is not complete gzip data.
    """
    decompressor = zlib.decompressobj(_GZIP_FORMAT)
    try:
        plain = decompressor.decompress(body, limit + 1)
    except zlib.error:
        raise _not_compressed() from None
    if len(plain) > limit:
        raise too_long(limit)
    if not decompressor.eof or decompressor.unused_data:
        raise _not_compressed()
    return plain


def in_utf_8(json: bytes | bytearray) -> tuple[bytes | bytearray, int]:
    """Convert JSON in any Unicode encoding to UTF-8 without a byte order mark.

    Returns:
        The JSON, and the number of halves of surrogate pairs, which UTF-8 does not have, that were replaced
        by U+FFFD.

    Raises:
        ValueError: When the JSON is in none of these encodings.
    """
    encoding = detect_encoding(json)
    if encoding == "utf-8":
        return json, 0
    text, replaced = _HALVES.subn("\ufffd", json.decode(encoding, "surrogatepass"))
    return text.encode(), replaced


def _not_compressed() -> InvalidRequestError:
    return InvalidRequestError.at(("body",), "The body is not compressed by gzip, as its header says")
