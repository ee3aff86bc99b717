"""Which uris may be read: rows 16 to 19 of the hostile inputs, before any name is resolved."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.outside.addresses import forbidden
from app.outside.uri import parse
from app.settings import Settings
from app.sources.policy import Entry, Policy
from app.spec.problems import Refused

PLACES = (
    *("http://*", "https://*", "http://example.org:8080", "s3://bucket/sets/"),
    *("http://8.8.8.8", "http://[2606:4700::1111]"),
)
OPEN = Policy(tuple(map(Entry.read, PLACES)))
"""Open to every public host, so that what is refused is refused for what it is."""


def refusal(policy: Policy, uri: str, project: str | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        policy.check(uri, project)
    return caught.value


INNER = [
    *(
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
    ),
    *(
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "100.100.100.200",
    ),
    *(
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
    ),
    *(
        "192.88.99.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
    ),
    *(
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
    ),
    *(
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "fc00::1",
    ),
    *(
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001::1",
        "2001:db8::1",
    ),
    *(
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
    ),
]


@pytest.mark.parametrize("address", INNER)
def test_row_18_inner_addresses(address: str) -> None:
    assert forbidden(ipaddress.ip_address(address)) is not None
    host = f"[{address}]" if ":" in address else address
    for port in ("", ":80", ":8080"):
        assert refusal(OPEN, f"http://{host}{port}/x").code == "forbidden_address"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses(address: str) -> None:
    assert forbidden(ipaddress.ip_address(address)) is None


@given(st.ip_addresses(v=4))
def test_whatever_python_calls_inner_is(address: ipaddress.IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert forbidden(address) is not None
        mapped = ipaddress.IPv6Address(f"::ffff:{address}")
        assert forbidden(mapped) is not None


def test_an_opened_network_opens_no_metadata() -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert forbidden(ipaddress.ip_address("10.0.0.1"), everything) is None
    assert forbidden(ipaddress.ip_address("::1"), everything) is None
    for address in ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"):
        assert forbidden(ipaddress.ip_address(address), everything) is not None


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "1",
        "0",
        "127.0.0.01",
        "0300.0250.1.1",
        "169.254.43518",
        "2852039166",
        "a.0x7f",
        "example.1",
        "999.1.1.1",
        "256.256.256.256",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
    ],
)
def test_row_18_other_spellings(host: str) -> None:
    refused = refusal(OPEN, f"http://{host}/x")
    assert (refused.status, refused.code) == (422, "forbidden_address")


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        # row 17
        ("file:///etc/passwd", "unsupported_scheme"),
        ("FILE:///etc/passwd", "unsupported_scheme"),
        ("file:/etc/passwd", "unsupported_scheme"),
        ("gopher://example.org:6379/_FLUSHALL", "unsupported_scheme"),
        ("ftp://example.org/x", "unsupported_scheme"),
        ("dict://example.org/x", "unsupported_scheme"),
        ("data:text/plain,x", "unsupported_scheme"),
        ("javascript:alert(1)", "unsupported_scheme"),
        ("jar:http://example.org/x!/y", "unsupported_scheme"),
        ("netdoc:///etc/passwd", "unsupported_scheme"),
        # row 16
        ("/etc/passwd", "invalid_uri"),
        ("../x", "invalid_uri"),
        ("C:\\x", "unsupported_scheme"),
        ("http://example.org/a/../b", "unsafe_path"),
        ("http://example.org/..", "unsafe_path"),
        ("http://example.org/%2e%2e/b", "unsafe_path"),
        ("http://example.org/.%2E/b", "unsafe_path"),
        ("http://example.org/%252e%252e/b", "unsafe_path"),
        ("http://example.org/a%2fb", "unsafe_path"),
        ("http://example.org/a%252fb", "unsafe_path"),
        ("http://example.org/a%5cb", "unsafe_path"),
        ("http://example.org/a%00b", "unsafe_path"),
        ("http://example.org/a%0d%0ab", "unsafe_path"),
        ("s3://bucket/sets/../x", "unsafe_path"),
        ("s3://bucket/sets/%2e%2e/x", "unsafe_path"),
        # what two parsers read differently
        ("http://a@example.org/", "credentials_in_uri"),
        ("http://a:b@example.org/", "credentials_in_uri"),
        ("http://example.org@127.0.0.1/", "credentials_in_uri"),
        ("http://example.org\\@127.0.0.1/", "invalid_uri"),
        ("http://127.0.0.1\\.example.org/", "invalid_uri"),
        ("http://example.org#@127.0.0.1/", "invalid_uri"),
        ("http://example.org /", "invalid_uri"),
        ("http://example.org\t/", "invalid_uri"),
        ("http://example.org\n/", "invalid_uri"),
        ("http:/example.org/", "invalid_uri"),
        ("http:example.org/", "invalid_uri"),
        ("http:///x", "invalid_uri"),
        ("http://", "invalid_uri"),
        ("http://[::1/", "invalid_uri"),
        ("http://[fe80::1%25eth0]/", "invalid_uri"),
        ("http://[::ffff:127.0.0.1/", "invalid_uri"),
        ("http://example.org:99999/", "invalid_uri"),
        ("http://example.org:x/", "invalid_uri"),
        ("http://ex%61mple.org/", "invalid_uri"),
        ("http://-a.org/", "invalid_uri"),
        ("http://a..org/", "invalid_uri"),
        ("http://１２７.0.0.1/", "invalid_uri"),
        ("http://①②⑦.0.0.1/", "invalid_uri"),
        ("http://exa\u200bmple.org/", "invalid_uri"),
        (f"http://{'a' * 64}.org/", "invalid_uri"),
        ("s3://", "invalid_uri"),
        ("s3://bucket", "invalid_uri"),
        ("s3://bucket/", "invalid_uri"),
        ("s3://bucket/a//b", "invalid_uri"),
        ("s3://bucket/a?versionId=1", "invalid_uri"),
        ("s3://bucket:80/a", "invalid_uri"),
        ("", "invalid_uri"),
    ],
)
def test_rows_16_and_17_and_what_is_read_in_two_ways(uri: str, code: str) -> None:
    refused = refusal(OPEN, uri)
    assert (refused.status, refused.code) == (422, code)


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a/b.npz?signature=a%2Fb",
        "HTTPS://Example.ORG/a",
        "http://example.org:8080/a%20b",
        "https://example.org",
        "https://xn--bcher-kva.example/",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]/x",
        "s3://bucket/sets/a.npz",
        "https://example.org/...",
    ],
)
def test_what_is_read(uri: str) -> None:
    assert OPEN.check(uri)


def test_nothing_is_allowed_by_default() -> None:
    refused = refusal(Policy.of(Settings()), "https://example.org/a.npz")
    assert refused.code == "uri_not_allowed"
    assert "STILLHOUSE_URI_ALLOW" in (refused.hint or "")


@pytest.mark.parametrize(
    ("entry", "yes", "no"),
    [
        (
            "https://a.org/sets/",
            ["https://a.org/sets/x", "https://A.org/sets/x?y", "https://a.org/sets/s/x"],
            [
                "http://a.org/sets/x",
                "https://a.org/other",
                "https://a.org/sets-2/x",
                "https://a.org:8443/sets/x",
                "https://b.a.org/sets/x",
                "https://a.org.evil.net/sets/x",
            ],
        ),
        ("https://a.org:8443", ["https://a.org:8443/x"], ["https://a.org/x"]),
        (
            "https://*.a.org/",
            ["https://b.a.org/x", "https://c.b.a.org/"],
            ["https://a.org/x", "https://ba.org/", "https://a.org.evil.net/"],
        ),
        ("https://*", ["https://any.org/x"], ["https://8.8.8.8/x", "http://any.org/x"]),
        ("s3://b/p", ["s3://b/p/x", "s3://b/p"], ["s3://b/px", "s3://c/p/x", "gs://b/p/x"]),
        ("https://a.org/%7Ex/", ["https://a.org/~x/y"], []),
    ],
)
def test_the_allow_list(entry: str, yes: list[str], no: list[str]) -> None:
    if "%" in entry:  # entries are spelled as they are, not encoded
        entry = entry.replace("%7E", "~")
    policy = Policy((Entry.read(entry),))
    for uri in yes:
        assert policy.check(uri)
    for uri in no:
        assert refusal(policy, uri).code == "uri_not_allowed"


@pytest.mark.parametrize("entry", ["", "a.org", "file:///x", "https://", "s3://*", "ftp://a.org"])
def test_a_place_that_is_none(entry: str) -> None:
    with pytest.raises(ValueError, match="not a place to allow"):
        Entry.read(entry)


def test_row_19_another_projects_prefix() -> None:
    policy = Policy(
        (Entry.read("s3://bucket/projects/{project}/"), Entry.read("s3://bucket/shared/"))
    )
    assert policy.check("s3://bucket/projects/prj_1/x", "prj_1")
    assert policy.check("s3://bucket/shared/x", "prj_1")
    for uri, project in (
        ("s3://bucket/projects/prj_2/x", "prj_1"),
        ("s3://bucket/projects/prj_1/x", None),
        ("s3://bucket/projects/prj_1x/x", "prj_1"),
    ):
        refused = refusal(policy, uri, project)
        assert (refused.status, refused.code) == (404, "source_not_found")
    assert refusal(policy, "s3://bucket/projects/prj_2/../prj_1/x", "prj_1").status == 422
    assert refusal(policy, "s3://bucket/other/x", "prj_1").code == "uri_not_allowed"


def test_row_19_the_services_own_storage() -> None:
    entries = (Entry.read("s3://bucket/"),)
    own = Policy(entries, own_storage="s3://bucket/stillhouse/")
    assert own.check("s3://bucket/sets/x")
    for uri in ("s3://bucket/stillhouse/blobs/00/00ff", "s3://bucket/stillhouse"):
        assert refusal(own, uri).status == 404
    assert refusal(Policy(entries, own_storage="s3://bucket"), "s3://bucket/x").status == 404


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_URI_ALLOW", "https://a.org/sets/, s3://b/")
    monkeypatch.setenv("STILLHOUSE_URI_ALLOW_NETWORKS", "10.0.0.0/8")
    settings = Settings()
    assert settings.uri_allow == ("https://a.org/sets/", "s3://b/")
    policy = Policy.of(settings)
    assert policy.check("s3://b/x")
    assert policy.networks == (ipaddress.ip_network("10.0.0.0/8"),)
    with pytest.raises((ValueError, ValidationError)):
        Policy.of(Settings(uri_allow_networks=("10.0.0.0/33",)))


@given(st.text(max_size=60).map(lambda rest: f"http://{rest}"))
def test_two_parsers_agree_or_it_is_refused(text: str) -> None:
    """What passes is read alike by another parser: nobody else sees another host in it."""
    try:
        uri = parse(text)
    except Refused:
        return
    other = urlsplit(text)
    assert (other.hostname or "").rstrip(".") == uri.host
    assert other.username is None
    assert parse(f"{uri.scheme}://{uri.netloc}{uri.target}") == uri
