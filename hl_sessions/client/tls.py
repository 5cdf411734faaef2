"""The TLS context of the client."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
from urllib3.util.ssl_ import create_urllib3_context

__all__ = ["client_context"]


def client_context(
    verify: bool | str,  # noqa: FBT001 - as requests has it
    certificate: str | tuple[str, str] | None,
) -> ssl.SSLContext:
    """Return the TLS context that ``requests`` would use.

    Args:
        verify: a file or folder of authorities. ``True``: those of ``requests``. ``False``: do not verify.
        certificate: a file with the client's certificate, or a pair of files, the certificate and its key.
            ``None``: no certificate.

    Raises:
        OSError: a file is missing or unusable.
    """
    context: ssl.SSLContext = create_urllib3_context()
    context.set_alpn_protocols(["http/1.1"])
    if verify:
        authorities = certifi.where() if verify is True else verify
        if Path(authorities).is_dir():
            context.load_verify_locations(capath=authorities)
        else:
            context.load_verify_locations(cafile=authorities)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*((certificate,) if isinstance(certificate, str) else certificate))
    return context
