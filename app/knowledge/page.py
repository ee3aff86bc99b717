"""A report as a page for people: the same numbers, its pictures, nothing from elsewhere."""

from collections.abc import Iterator
from html import escape

from app.knowledge.pictures import PICTURES, Exhibit

STYLE = """
:root{color-scheme:light dark}
body{background:#fff;color:#1f2328;font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;
max-width:44rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}
h2{font-size:1.1rem;margin-top:2rem}
svg{max-width:100%;height:auto;margin:1rem 0}
table{border-collapse:collapse}
td,th{padding:.15rem .9rem .15rem 0;text-align:right;font-variant-numeric:tabular-nums}
.big{font-size:1.3rem}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}}
.soft{opacity:.75}
""".replace("\n", "")
SAFE = {
    # Class names are a client's: even what slipped through escaping could run nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def page(exhibit: Exhibit, title: str) -> str:
    """The whole of it."""
    return _document(title, "".join(_body(exhibit, title)))


def waiting(title: str) -> str:
    """Until there is something to show, this asks again by itself."""
    body = (
        f"<h1>{escape(title)}</h1><p>A worker is finding out. This page asks again by itself.</p>"
    )
    return _document(title, body, head='<meta http-equiv="refresh" content="1">')


def _document(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )


def _body(exhibit: Exhibit, title: str) -> Iterator[str]:
    known, advice = exhibit.knowledge, exhibit.advice
    yield f"<h1>{escape(title)}</h1>"
    drawn = "all" if known.examples == known.rows else f"{known.examples:,}"
    yield f'<p class="soft">{drawn} of {known.rows:,} examples of the {known.split} split</p>'
    yield "<h2>Which temperature</h2>"
    range_ = f"T {advice.lowest:g} to {advice.highest:g}"
    yield f'<p class="big">{range_}; try {advice.first:g} first</p>'
    yield f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in advice.reasons)}</ul>"
    yield f"<p><strong>{escape(advice.caveat)}</strong></p>"
    for draw in PICTURES.values():
        yield draw(exhibit) or ""
    yield "<h2>The soft targets at each temperature</h2><table><tr><th>T<th>entropy (nats)"
    yield "<th>of log C<th>mass off the target"
    for one in known.softness:
        cells = (
            f"{one.temperature:g}",
            f"{one.entropy:.4f}",
            f"{one.entropy_share:.1%}",
            f"{one.off_target:.1%}",
        )
        yield f"<tr>{''.join(f'<td>{cell}' for cell in cells)}"
    yield "</table>"
