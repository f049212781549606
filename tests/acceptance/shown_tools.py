"""What the search for shown secrets is made with."""

import contextlib
import http.server
import secrets
import threading

import httpx2


class Markers:
    """Unique texts, each by the name of the place it is planted in."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        """The marker of a place, made when it is first asked for."""
        if place not in self.by_place:
            self.by_place[place] = f"marker{secrets.token_hex(10)}"
        return self.by_place[place]

    def note(self, place: str, text: str) -> str:
        """A secret that the server made itself."""
        self.by_place[place] = text
        return text


class Receiver:
    """Keeps the bodies of what is sent to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(500 if "refusing" in self.path else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take nothing more."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


class Stream:
    """Reads an endless answer of the server in a thread, until it is closed."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.data = bytearray()
        self._client = httpx2.Client(timeout=httpx2.Timeout(10, read=0.2), trust_env=False)
        self._is_open, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url, headers), daemon=True)
        self._thread.start()
        assert self._is_open.wait(20)

    def _read(self, url: str, headers: dict[str, str]) -> None:
        with self._client.stream("GET", url, headers=headers) as answer:
            answer.raise_for_status()
            self._is_open.set()
            pieces = answer.iter_raw()
            while not self._closing.is_set():
                with contextlib.suppress(httpx2.ReadTimeout, StopIteration):
                    self.data += next(pieces)

    def close(self) -> bytes:
        """Everything that came."""
        self._closing.set()
        self._thread.join(10)
        self._client.close()
        return bytes(self.data)
