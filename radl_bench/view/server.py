"""The server of a report: this machine alone can ask it, and it gives out pages, their data and images of the runs."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from radl_bench.errors import UsageError
from radl_bench.view.desk import IMAGES, Desk, first_page

HOST = "127.0.0.1"
STATE = "state.json"
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


class Pages(SimpleHTTPRequestHandler):
    """Answers GET and HEAD.

    Args:
        desk: what is followed; None for a report that is served as it lies.
    """

    def __init__(self, *args: object, desk: Desk | None = None, directory: str = "", **options: object) -> None:
        self.desk = desk
        super().__init__(*args, directory=directory, **options)  # type: ignore[arg-type]

    def parse_request(self) -> bool:
        """Read the head of a request; one that asks by another name of this machine is refused."""
        if not super().parse_request():
            return False
        # another site whose name was made to point here may not read along
        if (self.headers.get("Host") or "").rpartition(":")[0] in _NAMES:
            return True
        self.send_error(403, "Ask for 127.0.0.1")
        return False

    def do_GET(self) -> None:
        """Send the state, an image of a run, or a file of the report."""
        address = urlsplit(self.path).path
        if address == "/":
            self._send_on(first_page(self.desk) if self.desk else "index.html")
        elif self.desk and address == f"/{STATE}":
            self._send(json.dumps(self.desk.state()).encode(), "application/json")
        elif self.desk and address.startswith(f"/{IMAGES}/"):
            self._send_image(self.desk, address)
        else:
            super().do_GET()

    def list_directory(self, path: object) -> None:
        """Refuse: pages are asked for by name."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Let a browser ask again: a report is replaced while it is looked at."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of what goes well."""

    def _send_on(self, page: str) -> None:
        self.send_response(302)
        self.send_header("Location", f"/{page}")
        self.end_headers()

    def _send_image(self, desk: Desk, address: str) -> None:
        number, _, file = address.removeprefix(f"/{IMAGES}/").partition("/")
        found = desk.image(int(number), unquote(file)) if number.isdecimal() and "\0" not in unquote(file) else None
        kind = _TYPES.get(found.suffix.lower()) if found else None
        if found is None or kind is None:
            self.send_error(404)
        else:
            self._send(found.read_bytes(), kind)

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def open_server(folder: Path, port: int, desk: Desk | None = None) -> ThreadingHTTPServer:
    """Return a server of a folder on this machine's own address; port 0 takes a free one.

    Raises:
        UsageError: the port is taken, or may not be used.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(Pages, desk=desk, directory=str(folder)))
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be used ({getattr(error, 'strerror', None) or error})"
        raise UsageError(
            f"Port {port} {why}. Give another one with --port, or --port 0 for any that is free."
        ) from None


def follow(desk: Desk, stop: threading.Event, seconds: float, told: Callable[[str], None]) -> None:
    """Refresh a desk every so many seconds until `stop` is set; problems are told once each."""
    said = ""
    while not stop.is_set():
        if desk.refresh() and desk.problem not in ("", said):
            said = desk.problem
            told(said)
        stop.wait(seconds)
