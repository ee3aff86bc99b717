"""Pydantic's phrases, as one would say them of what was typed."""

import difflib
import re

from stillhouse.errors import FieldProblem

UNKNOWN_FIELD = "extra_forbidden"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list, such as [1, 2]",
    "tuple": "a list, such as [1, 2]",
    "dict": "fields with values, such as {name: ...}",
    "model": "fields with values, such as {name: ...}",
}
"""What a value should have been, by how pydantic's codes begin."""
_TAG = re.compile(r"tag '(?P<tag>.*)' found using .* expected tags: (?P<known>.*)", re.DOTALL)
_NO_TAG = re.compile(r"extract tag using discriminator '(?P<field>\w+)'")
_SHOULD = re.compile(r"^(Input|Tuple|List|String|Value|Dictionary|Set) should ")


def plain(one: FieldProblem) -> str:
    if one.code == "missing":
        return "this field is missing."
    if one.code == UNKNOWN_FIELD:
        return "there is no such field."
    kind, _, rest = one.code.partition("_")
    if kind in _KINDS and rest in ("type", "parsing", "from_float", "attributes_type"):
        return f"this must be {_KINDS[kind]}."
    if found := _TAG.search(one.detail):
        steps = [step for step in one.pointer.split("/") if step and not step.isdigit()]
        what = steps[-1] if steps else "such thing"
        known = [name.strip(" '") for name in found["known"].split(",")]
        close = difflib.get_close_matches(found["tag"], known, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        return f"there is no {what} {found['tag']!r}: {', '.join(known)}.{meant}"
    if found := _NO_TAG.search(one.detail):
        return f"say which one with `{found['field']}: ...`."
    detail = _SHOULD.sub("this must ", one.detail).removesuffix(" after validation")
    return detail.replace(" after validation,", ",")
