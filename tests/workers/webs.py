"""Small web servers that behave as a test wants, on the loopback address it wants."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """A running server; `seen` has the headers and the path of each request, `bodies` what came."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_address[1]
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []


@contextlib.contextmanager
def web(
    address: str, behave: Behaviour, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            found.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            with contextlib.suppress(OSError):
                behave(self)
            self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    found = Web(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def give(content: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Answers with that; underscores in names of headers stand for hyphens."""

    def behave(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return behave


def redirect(location: str, status: int = 302) -> Behaviour:
    return give(b"", status, Location=location)
