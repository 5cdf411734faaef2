"""A real nginx before a server, set up as documented, with buffering, compression and kept connections."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, zip_longest
from pathlib import Path
from time import sleep

import pytest

from tests.servers import MOST_STARTS, free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
DOCUMENTED = (Path(__file__).parents[1] / "docs" / "nginx.conf").read_text()

# The parts of Debian's usual file around the servers, with folders that need no root.
AROUND = """
daemon off;
master_process off;
pid nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    gzip on;
    gzip_min_length 1;
    gzip_proxied any;
    gzip_types application/json text/css application/javascript text/javascript;
    {server}
}}
"""


@contextmanager
def nginx(directory: Path, configuration: str) -> Iterator[str]:
    """The address, without a scheme, of an nginx with this configuration, which listens on port 80 there."""
    if NGINX is None:
        pytest.skip("no nginx")
    for attempt in count(1):
        port = free_port()
        text = AROUND.format(server=configuration.replace("listen 80", f"listen 127.0.0.1:{port}"))
        (directory / "nginx.conf").write_text(text)
        process = subprocess.Popen(
            [NGINX, "-p", directory, "-e", "errors.log", "-c", "nginx.conf"], stderr=subprocess.PIPE
        )
        with process:
            try:
                # It exists as soon as nginx listens.
                while not (directory / "nginx.pid").exists() and process.poll() is None:
                    sleep(0.01)
                if process.poll() is not None and attempt < MOST_STARTS:
                    continue  # somebody else was faster to take the port
                assert process.poll() is None, process.communicate()
                yield f"127.0.0.1:{port}"
            finally:
                process.kill()
        return


def documented(base_urls: list[str], *changes: tuple[str, str]) -> str:
    """The configuration of the documentation, for these servers and with changes."""
    text = DOCUMENTED
    for base_url, line in zip_longest(base_urls, re.findall(r" +server 127.*;\n", DOCUMENTED), fillvalue=""):
        address = base_url.removeprefix("http://").removesuffix("/v4")
        text = text.replace(line, f"    server {address};\n" if address else "")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text
