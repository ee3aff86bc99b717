"""GET / and the files of the dashboard: what the page shows, it asks the API for."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response

from app.errors import NotFound
from app.http.etags import matches
from app.web.assets import Asset, dashboard

router = APIRouter(include_in_schema=False)

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing from elsewhere, and no script that is not a file of ours, whatever a name or a log holds.
Images may be data: previews and reports bring their pictures with them."""

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
READ: Final = ["GET", "HEAD"]


@router.api_route("/", methods=READ)
async def get_dashboard(request: Request) -> Response:
    """Asked for each time, and not sent again while it is the same."""
    etag = f'"{dashboard().version}"'
    headers = {**HEADERS, "ETag": etag, "Cache-Control": "no-cache"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    return _sent(request, dashboard().page, headers)


@router.api_route("/static/{version}/{name:path}", methods=READ)
async def get_static(request: Request, version: str, name: str) -> Response:
    """The file of one version, which never changes."""
    asset = dashboard().files.get(name)
    if asset is None or version != dashboard().version:
        raise NotFound("not_found", "There is nothing at this address.")
    keep = {"Cache-Control": "public, max-age=31536000, immutable"}
    return _sent(request, asset, {**HEADERS, **keep})


def _sent(request: Request, asset: Asset, headers: Mapping[str, str]) -> Response:
    headers = {**headers, "Vary": "Accept-Encoding"}
    content = asset.content
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content = asset.packed
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=asset.media_type)
