"""Fetching from real servers: an allowed inner address (127.0.0.2) stands for the internet, and
127.0.0.1 for the inside that nobody may reach. Row 18 of the hostile inputs."""

import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.sources.policy import Entry, Policy
from app.spec.problems import Refused
from tests.workers.webs import Web, give, redirect, web
from workers import fetch
from workers.fetch import Fetcher, Interrupted, Unreachable

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
CONTENT = b"rows" * 100_000
NAME = "data.example.org"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAUSES_S", (0.05, 0.05))


@pytest.fixture
def inside() -> Iterator[Web]:
    """What must never be asked for anything."""
    with web(INSIDE, give(b"secret")) as found:
        yield found
        assert found.seen == []


class Names:
    """A name server whose answers are listed; the last one is repeated. Counts what it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def fetcher(*ports: int, resolve: Any = None, scheme: str = "http", **options: Any) -> Fetcher:
    entries = [f"{scheme}://*:{port}" for port in ports]
    entries += [f"{scheme}://{host}:{port}" for host in (OUTSIDE, INSIDE) for port in ports]
    policy = Policy(
        tuple(map(Entry.read, entries)), networks=(ipaddress.ip_network(f"{OUTSIDE}/32"),)
    )
    return Fetcher(
        policy,
        options.pop("max_bytes", 10**7),
        resolve=resolve or Names([OUTSIDE]),
        **options,
    )


def get(found: Fetcher, uri: str, path: Path, **options: Any) -> str:
    return found.fetch(uri, path, stopping=threading.Event(), **options)


def refusal(found: Fetcher, uri: str, path: Path, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        get(found, uri, path, **options)
    return caught.value


def test_bytes_come_as_they_are_and_nothing_is_sent_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{INSIDE}:1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine {NAME} login a password b")
    names = Names([OUTSIDE])
    with web(OUTSIDE, give(CONTENT)) as server:
        found = get(
            fetcher(server.port, resolve=names),
            f"http://{NAME}:{server.port}/sets/a.npz?signature=x",
            tmp_path / "a",
            sha256=hashlib.sha256(CONTENT).hexdigest(),
        )
        (path, headers) = server.seen[0]
    assert found == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert path == "/sets/a.npz?signature=x"
    assert headers == {
        "host": f"{NAME}:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "stillhouse",
    }
    assert names.asked == [NAME]


def test_another_checksum_is_refused(tmp_path: Path) -> None:
    with web(OUTSIDE, give(CONTENT)) as server:
        uri = f"http://{NAME}:{server.port}/a"
        refused = refusal(fetcher(server.port), uri, tmp_path / "a", sha256="0" * 64)
    assert (refused.status, refused.code) == (422, "checksum_mismatch")


@pytest.mark.parametrize("chunked", [False, True])
def test_no_more_is_read_than_allowed(tmp_path: Path, chunked: bool) -> None:
    sent = []

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if chunked:
            request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while True:
            piece = bytes(65536)
            request.wfile.write(b"10000\r\n%b\r\n" % piece if chunked else piece)
            sent.append(len(piece))

    with web(OUTSIDE, endless) as server:
        uri = f"http://{NAME}:{server.port}/a"
        refused = refusal(fetcher(server.port, max_bytes=10**6), uri, tmp_path / "a")
    assert (refused.status, refused.code) == (413, "source_too_large")
    assert sum(sent) < 3 * 10**7
    with web(OUTSIDE, give(b"", Content_Length=str(10**9))) as server:
        uri = f"http://{NAME}:{server.port}/a"
        assert refusal(fetcher(server.port), uri, tmp_path / "a").code == "source_too_large"


@pytest.mark.parametrize(
    "answer",
    [
        [INSIDE],
        [OUTSIDE, INSIDE],  # one bad address among good ones
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%eth0"],
        ["10.0.0.1"],
        ["0.0.0.0"],
    ],
    ids=str,
)
def test_row_18_names_of_inner_addresses(tmp_path: Path, inside: Web, answer: list[str]) -> None:
    found = fetcher(inside.port, resolve=Names(answer))
    refused = refusal(found, f"http://{NAME}:{inside.port}/a", tmp_path / "a")
    assert (refused.status, refused.code) == (422, "forbidden_address")


def test_row_18_rebinding(tmp_path: Path, inside: Web) -> None:
    """The name turns inner after the first answer: what was checked is what is connected to."""
    names = Names([OUTSIDE], [INSIDE])
    with web(OUTSIDE, give(CONTENT), port=inside.port) as server:
        get(fetcher(server.port, resolve=names), f"http://{NAME}:{server.port}/a", tmp_path / "a")
        assert len(server.seen) == 1
        assert names.asked == [NAME]
        # Asked again for the next uri, it is refused.
        uri = f"http://{NAME}:{server.port}/a"
        found = fetcher(server.port, resolve=names)
        assert refusal(found, uri, tmp_path / "a").code == "forbidden_address"


def test_row_18_a_redirect_that_rebinds(tmp_path: Path, inside: Web) -> None:
    names = Names([OUTSIDE], [INSIDE])
    with web(OUTSIDE, redirect("/again"), port=inside.port) as server:
        found = fetcher(server.port, resolve=names)
        refused = refusal(found, f"http://{NAME}:{server.port}/a", tmp_path / "a")
    assert refused.code == "forbidden_address"
    assert len(server.seen) == 1


LOCATIONS: dict[str, tuple[str, str]] = {
    "inner address": ("http://127.0.0.1:{port}/", "forbidden_address"),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "forbidden_address"),
    "mapped": ("http://[::ffff:127.0.0.1]:{port}/", "forbidden_address"),
    "decimal": ("http://2130706433:{port}/", "forbidden_address"),
    "octal": ("http://0177.0.0.1:{port}/", "forbidden_address"),
    "localhost": ("http://localhost:{port}/", "forbidden_address"),
    "no scheme": ("//127.0.0.1:{port}/", "forbidden_address"),
    "file": ("file:///etc/passwd", "unsupported_scheme"),
    "gopher": ("gopher://127.0.0.1:{port}/", "unsupported_scheme"),
    "user": ("http://a@127.0.0.1:{port}/", "credentials_in_uri"),
    "elsewhere": ("http://data.example.org:1/", "uri_not_allowed"),
    "up": ("http://data.example.org:{port}/%2e%2e/x", "unsafe_path"),
    "nowhere": ("http://[", "invalid_uri"),
    "itself": ("", "too_many_redirects"),
    "for ever": ("/a", "too_many_redirects"),
    "a store": ("s3://bucket/x", "insecure_redirect"),
}


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize("name", LOCATIONS)
def test_row_18_redirects(tmp_path: Path, inside: Web, name: str, status: int) -> None:
    location, code = LOCATIONS[name]
    location = location.format(port=inside.port)
    with web(OUTSIDE, redirect(location, status), port=inside.port) as server:
        found = fetcher(inside.port)
        policy = Policy((*found.policy.entries, Entry.read("s3://bucket")), found.policy.networks)
        found = Fetcher(policy, found.max_bytes, resolve=found.resolve)
        refused = refusal(found, f"http://{NAME}:{server.port}/a", tmp_path / "a")
        assert len(server.seen) <= 5
    assert refused.code == code


def test_a_redirect_is_followed_where_it_may_lead(tmp_path: Path) -> None:
    def behave(request: BaseHTTPRequestHandler) -> None:
        (redirect("/b?c=d") if request.path == "/a" else give(CONTENT))(request)

    with web(OUTSIDE, behave) as server:
        get(fetcher(server.port), f"http://{NAME}:{server.port}/a", tmp_path / "a")
    assert [path for path, _ in server.seen] == ["/a", "/b?c=d"]
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410])
def test_a_no_is_a_no(tmp_path: Path, status: int) -> None:
    with web(OUTSIDE, give(b"", status)) as server:
        uri = f"http://{NAME}:{server.port}/a"
        assert refusal(fetcher(server.port), uri, tmp_path / "a").code == "source_refused"
        assert len(server.seen) == 1


def test_encoded_content_is_refused(tmp_path: Path) -> None:
    with web(OUTSIDE, give(b"x", Content_Encoding="gzip")) as server:
        uri = f"http://{NAME}:{server.port}/a"
        assert refusal(fetcher(server.port), uri, tmp_path / "a").code == "source_encoded"


def test_what_passes_is_tried_again(tmp_path: Path) -> None:
    answers = [give(b"", 503), give(CONTENT[:10], Content_Length="20"), give(CONTENT)]
    with web(OUTSIDE, lambda request: answers.pop(0)(request)) as server:
        get(fetcher(server.port), f"http://{NAME}:{server.port}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def no_such_name(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("resolve", [no_such_name, Names([OUTSIDE]), Names([])])
def test_nobody_there(tmp_path: Path, resolve: Callable[[str, int], list[str]]) -> None:
    with socket.socket() as closed:
        closed.bind((OUTSIDE, 0))
        port = closed.getsockname()[1]
        with pytest.raises(Unreachable):
            get(fetcher(port, resolve=resolve), f"http://{NAME}:{port}/a", tmp_path / "a")


def trickled_head(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        request.wfile.write(b"X-A: b\r\n")
        request.wfile.flush()
        time.sleep(0.05)


def trickled_body(request: BaseHTTPRequestHandler) -> None:
    give(b"", Content_Length="100000")(request)
    for _ in range(1000):
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("behave", [trickled_head, trickled_body])
def test_a_server_that_trickles_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behave: Callable[..., None]
) -> None:
    monkeypatch.setattr(fetch, "PAUSES_S", ())
    monkeypatch.setattr("workers.fetch_web.HEAD_S", 0.5)
    began = time.monotonic()
    with web(OUTSIDE, behave) as server, pytest.raises(Unreachable):
        get(fetcher(server.port, window_s=0.5), f"http://{NAME}:{server.port}/a", tmp_path / "a")
    assert time.monotonic() - began < 5


def test_a_server_of_silence_is_left(tmp_path: Path) -> None:
    began = time.monotonic()
    with web(OUTSIDE, lambda _: time.sleep(3)) as server, pytest.raises(Unreachable):
        get(fetcher(server.port, timeout_s=0.5), f"http://{NAME}:{server.port}/a", tmp_path / "a")
    assert time.monotonic() - began < 2.5


def test_a_shutdown_interrupts(tmp_path: Path) -> None:
    stopping = threading.Event()
    stopping.set()
    with web(OUTSIDE, give(CONTENT)) as server, pytest.raises(Interrupted):
        fetcher(server.port).fetch(
            f"http://{NAME}:{server.port}/a", tmp_path / "a", stopping=stopping
        )


def test_tls_is_for_the_name_at_the_pinned_address(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(server_side)
    names: list[str | None] = []
    server_side.sni_callback = lambda _socket, name, _context: names.append(name)
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    with web(OUTSIDE, give(CONTENT), tls=server_side) as server:
        found = fetcher(server.port, scheme="https", tls=tls)
        get(found, f"https://{NAME}:{server.port}/a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert names == [NAME]
        with pytest.raises(Unreachable, match="certificate"):
            get(found, f"https://other.example.org:{server.port}/a", tmp_path / "a")
        strict = fetcher(server.port, scheme="https")
        with pytest.raises(Unreachable, match="certificate"):
            get(strict, f"https://{NAME}:{server.port}/a", tmp_path / "a")
        assert len(server.seen) == 1
