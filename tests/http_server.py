"""A local HTTP server that answers rightly, or wrongly in a chosen way, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Shop:
    """What is served, `path -> bytes`, and how the next requests are answered: one name of a manner each, then "good".

    Manners: good; no-range (the whole file whatever is asked); truncated (half, under the right length); corrupted (one
    byte differs); stalled (half, then silence); slow (in small pieces); html (a page in place of the file); longer;
    other-part (a range that was not asked for); trickle (a byte at a time, for ever); trickle-head (the same in the
    head); abc and digits (such a Content-Length); 404, 500, 503; redirect (to the same path, once).
    """

    goods: dict[str, bytes] = field(default_factory=dict)
    manners: list[str] = field(default_factory=list)
    pace: float = 0.01
    asked: list[tuple[str, str | None, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    shop: Shop

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        shop, wanted = self.shop, self.headers.get("Range")
        manner = shop.manners.pop(0) if shop.manners else "good"
        shop.asked.append((self.path, wanted, manner))
        with contextlib.suppress(ConnectionError):
            self._answer(shop.goods[self.path], wanted, manner)
        self.close_connection = True

    def _answer(self, body: bytes, wanted: str | None, manner: str) -> None:
        if manner.isdigit():
            return self.send_error(int(manner))
        if manner == "redirect":
            return self._head(302, 0, {"Location": self.shop.url + self.path})
        if manner == "trickle-head":
            return self._trickle()
        if manner in ("abc", "digits"):
            return self._head(200, 0, {"Content-Length": "abc" if manner == "abc" else "9" * 5000})
        if manner == "trickle":
            self._head(200, len(body), {})
            return self._trickle()
        if manner == "html":
            page = b"<html>log in first</html>"
            return self._body(200, page, {"Content-Type": "text/html"})
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and manner != "no-range" else 0
        if start >= len(body) and start:
            return self.send_error(416)
        if manner == "corrupted":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if manner == "longer":
            body += b"more"
        headers = {}
        if wanted and manner != "no-range":
            first = start + 1 if manner == "other-part" else start
            headers = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        self._body(206 if headers else 200, body[start:], headers, manner)

    def _trickle(self) -> None:
        if self.shop.manners == ["trickle-head"]:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            self._send(b"x")
            time.sleep(0.05)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(key, value)
        self.end_headers()

    def _body(self, status: int, body: bytes, headers: dict[str, str], manner: str = "good") -> None:
        self._head(status, len(body), headers)
        if manner in ("truncated", "stalled"):
            self._send(body[: len(body) // 2])
            if manner == "stalled":
                time.sleep(1.5)
            return
        step = 1000 if manner == "slow" else len(body) or 1
        for at in range(0, len(body), step):
            self._send(body[at : at + step])
            time.sleep(self.shop.pace if manner == "slow" else 0)

    def _send(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.wfile.flush()
        self.shop.sent += len(piece)


@contextlib.contextmanager
def serve() -> Iterator[Shop]:
    """Run a server on a free local port while the block runs."""
    shop = Shop()
    handler = type("Handler", (_Handler,), {"shop": shop})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
