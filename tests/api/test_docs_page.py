"""/docs on a machine with no internet."""

import re

import httpx

ADDRESS = re.compile(r"""(?:src|href)=["']([^"']+)["']""")


def test_the_page_names_nothing_outside(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert '"validatorUrl": null' in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy


def test_what_the_page_names_is_there(api: httpx.Client) -> None:
    addresses = ADDRESS.findall(api.get("/docs").text)
    kinds = {}
    for address in addresses:
        answer = api.get(address)
        assert answer.status_code == 200, address
        kinds[address.rpartition(".")[2]] = answer.headers["content-type"].partition(";")[0]
    assert kinds == {"css": "text/css", "js": "text/javascript", "png": "image/png"}
    assert api.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert api.get("/docs/assets/..%2f..%2fpyproject.toml").status_code == 404
