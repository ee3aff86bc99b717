"""GET /docs: the interface to read and to try, with scripts that come from here alone."""

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
PARAMETERS = {
    "validatorUrl": None,  # the bundle would ask a server of its makers
    "persistAuthorization": True,
    "defaultModelsExpandDepth": 0,
}


def install(app: FastAPI) -> None:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title} API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon.png",
        swagger_ui_parameters=PARAMETERS,
    )
    page.headers["Content-Security-Policy"] = POLICY

    async def docs() -> Response:
        return page

    app.add_api_route("/docs", docs, include_in_schema=False)
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="manual")
