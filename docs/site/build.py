"""The pages that are made and not written: mkdocs calls this (mkdocs.yml, `hooks`).

The references come from docs/openapi.json and from the client's own code, the overview from the
README and the changes from the CHANGELOG. Links between documents are those of the repository, so
that they work there too: what a link names outside docs/ is shown as its path.
"""

import inspect
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

import stillhouse
from stillhouse import errors
from stillhouse.cli.main import app as command_line

ROOT = Path(__file__).parents[2]
EXCLUDED = InclusionLevel.EXCLUDED
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Of the repository's root, in the site."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
OBJECTS = (
    "Stillhouse",
    "Stillhouse.files",
    "Stillhouse.teachers",
    "Stillhouse.datasets",
    "Stillhouse.jobs",
    "Stillhouse.sweeps",
    "Job",
    "Sweep",
    "Teacher",
    "Dataset",
    "Metrics",
    "Retries",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {
        "reference/api.md": api(json.loads((ROOT / "docs" / "openapi.json").read_text())),
        "reference/python.md": python(),
        "reference/cli.md": cli(),
        **{target: (ROOT / source).read_text() for source, target in PAGES.items()},
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    here = page.file.src_uri
    origin = next((source for source, target in PAGES.items() if target == here), f"docs/{here}")
    if origin.startswith("docs/reference/"):
        return markdown
    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    blocks[::2] = [
        LINK.sub(lambda found: moved(found, origin, here, files), b) for b in blocks[::2]
    ]
    return "".join(blocks)


def moved(found: re.Match[str], origin: str, here: str, files: Files) -> str:
    """A link of the repository as the site has it."""
    image, words, link = found.groups()
    if re.match(r"[a-z]+:|#", link):
        return found[0]
    path, mark, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if not (ROOT / target).exists():
        raise ValueError(f"{origin} links to {target}, which is not there")
    inside = PAGES.get(target, target.removeprefix("docs/"))
    page = files.get_file_from_path(inside)
    if (target in PAGES or target.startswith("docs/")) and page and page.inclusion is not EXCLUDED:
        relative = posixpath.relpath(inside, posixpath.dirname(here) or ".")
        return f"{image}[{words}]({relative}{mark}{anchor})"
    plain = words.strip("`")
    if plain != words and plain.isidentifier():  # `kd`, of which the page has its file in mind
        return words
    return f"`{target}`" if plain in target or target in plain else f"{words} (`{target}`)"


def api(document: dict[str, Any]) -> str:
    """Every operation with its parameters, body and answers, then every schema."""
    parts = [
        "# HTTP API",
        f"Version {document['info']['version']}, made from `docs/openapi.json`, which a service "
        "answers at `/openapi.json` too. Errors are problems (RFC 9457): see `Problem` below.",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(verb.upper(), path, operation))
    for tag, texts in sorted(by_tag.items()):
        parts += [f"## {tag.capitalize()}", *texts]
    parts.append("## Schemas")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += [f"### {name}", *_fields(schema)]
    return "\n\n".join(parts) + "\n"


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"### {operation['summary']}", f"`{verb} {path}`  (`{operation['operationId']}`)"]
    if told := operation.get("description"):
        parts.append(inspect.cleandoc(told))
    rows = [
        f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {_cell(one)} |"
        for one in operation.get("parameters", ())
    ]
    if rows:
        parts.append("\n".join(["| parameter | in | type | |", "|---|---|---|---|", *rows]))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body: {_type(content.get('schema', {}))} as `{kind}`.")
    rows = []
    for status, answer in sorted(operation["responses"].items()):
        contents = answer.get("content", {}).values()
        kinds = sorted({_type(content.get("schema", {})) for content in contents})
        rows.append(f"| {status} | {', '.join(kinds)} | {_cell(answer)} |")
    return "\n\n".join([*parts, "\n".join(["| answer | type | |", "|---|---|---|", *rows])])


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    if told := schema.get("description"):
        yield inspect.cleandoc(told)
    required = schema.get("required", ())
    rows = [
        f"| `{name}`{'' if name in required else ' (optional)'} | {_type(one)} | {_cell(one)} |"
        for name, one in schema.get("properties", {}).items()
    ]
    if rows:
        yield "\n".join(["| field | type | |", "|---|---|---|", *rows])
    else:
        yield f"Type: {_type(schema)}."


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[word])))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "bytes"
    return str(schema.get("type", "any"))


BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _cell(one: dict[str, Any]) -> str:
    """Meaning, default and bounds on a line of a table."""
    schema = one.get("schema", one)
    told = [" ".join(str(one.get("description", "")).split())]
    limits = [f"{words} {schema[name]:g}" for name, words in BOUNDS.items() if name in schema]
    if limits:
        told.append(", ".join(limits).capitalize() + ".")
    if schema.get("default") is not None:
        told.append(f"Default `{json.dumps(schema['default'])}`.")
    return " ".join(filter(None, told)).replace("|", "\\|").replace("<", "&lt;")


def python() -> str:
    """The public classes of the client, as their code tells of them."""
    parts = [
        "# Python",
        "Made from the code of the client. `AsyncStillhouse` has the same methods, awaited.",
    ]
    client = stillhouse.Stillhouse("http://127.0.0.1:1")
    for name in OBJECTS:
        first, _, attribute = name.partition(".")
        kind = type(getattr(client, attribute)) if attribute else getattr(stillhouse, first)
        parts += [f"## {name}", *_class(kind, made=not attribute)]
    client.close()
    parts += ["## Exceptions", f"```text\n{inspect.cleandoc(errors.__doc__ or '')}\n```"]
    return "\n\n".join(parts) + "\n"


def _class(kind: type, *, made: bool) -> Iterator[str]:
    """`made`: whether users make one themselves."""
    if kind.__doc__:
        yield inspect.cleandoc(kind.__doc__)
    if made and "__init__" in vars(kind):
        yield f"```python\n{_signature(kind.__name__, vars(kind)['__init__'])}\n```"
    for owner in kind.__mro__:
        if not owner.__module__.startswith("stillhouse"):
            continue
        for name, member in vars(owner).items():
            if name.startswith("_"):
                continue
            if isinstance(member, property):
                yield f"#### {kind.__name__}.{name}"
                yield inspect.getdoc(member) or "A property."
            elif inspect.isfunction(member):
                yield f"#### {kind.__name__}.{name}"
                yield f"```python\n{_signature(name, member)}\n```"
                if told := inspect.getdoc(member):
                    yield told


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    kept = [
        one.replace(annotation=_Bare(one.annotation)) if isinstance(one.annotation, str) else one
        for key, one in signature.parameters.items()
        if key != "self"
    ]
    result = signature.return_annotation
    result = _Bare(result) if isinstance(result, str) else result
    text = str(signature.replace(parameters=kept, return_annotation=result))
    return f"{name}{text.removesuffix(' -> None')}"


class _Bare(str):
    """An annotation that shows itself without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def cli() -> str:
    """Every command with its arguments and options."""
    root: Any = typer.main.get_command(command_line)
    parts = ["# Command line", "Made from the code of the client."]
    parts += [_command("stillhouse", root), str(root.epilog)]
    for name, command in sorted(root.commands.items()):
        title = f"stillhouse {name}"
        parts += [f"## {title}", _command(title, command)]
        for inner, one in sorted(getattr(command, "commands", {}).items()):
            parts += [f"### {title} {inner}", _command(f"{title} {inner}", one)]
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> str:
    words = [inspect.cleandoc(command.help or "")]
    rows = []
    for one in command.params:
        if getattr(one, "hidden", False):
            continue
        argument = one.param_type_name == "argument"
        shown = one.make_metavar() if argument and not one.opts else ", ".join(one.opts)
        told = " ".join((getattr(one, "help", None) or "").split()).replace("|", "\\|")
        rows.append(f"| `{shown.upper() if argument else shown}` | {told} |")
    if rows:
        words.append("\n".join([f"| `{name}` | |", "|---|---|", *rows]))
    return "\n\n".join(words)
