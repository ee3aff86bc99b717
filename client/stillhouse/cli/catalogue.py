"""stillhouse methods, networks: what a job may ask for."""

from typing import Annotated, Any

import typer

from stillhouse.cli.options import Json

Name = Annotated[str | None, typer.Argument(help="Show this one, with all of its fields.")]


def methods(name: Name = None, json: Json = False) -> None:
    """List the methods, or show the parameters and paper of one."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected

    with connected() as still:
        found = still.methods()
    if name is not None:
        one = next((it for it in found if it.name == name), None)
        if one is None:
            raise _unknown("method", name, [it.name for it in found])
        if json:
            output.emit(one)
            return
        bounds = one.teachers
        _described(f"{one.name}: {one.title}", one.description, one.schema_)
        most = "or more" if bounds.max is None else f"to {bounds.max}"
        output.console().print(f"\nteachers: {bounds.min} {most}")
        return
    if json:
        output.emit(found)
        return
    output.table(["name", "", "paper"], [(it.name, it.title, it.paper) for it in found])


def networks(name: Name = None, json: Json = False) -> None:
    """List the families of networks, or show the fields of one."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected

    with connected() as still:
        found = still.networks()
    if name is not None:
        one = next((it for it in found if it.family == name), None)
        if one is None:
            raise _unknown("network", name, [it.family for it in found])
        if json:
            output.emit(one)
        else:
            _described(one.family, one.description, one.schema_)
            output.console().print("\nThe tensors of its checkpoint, with the defaults:")
            output.table(
                ["tensor", "shape"],
                [(name, " x ".join(map(str, shape))) for name, shape in one.tensors.items()],
            )
        return
    if json:
        output.emit(found)
        return
    output.table(["family", ""], [(it.family, it.description.partition("\n")[0]) for it in found])


def _described(title: str, description: str, schema: dict[str, Any]) -> None:
    from stillhouse.cli import output

    console = output.console()
    console.print(f"[bold]{title}[/]\n")
    console.print(description + "\n", markup=False)
    output.table(
        ["field", "default", "range", ""],
        [
            (
                field,
                _default(told),
                _range(told, schema),
                " ".join(told.get("description", "").split()),
            )
            for field, told in schema.get("properties", {}).items()
        ],
    )


def _default(told: dict[str, Any]) -> str:
    import json

    return json.dumps(told["default"]) if "default" in told else ""


def _range(told: dict[str, Any], schema: dict[str, Any]) -> str:
    """Bounds, choices, or members of a union."""
    if "$ref" in told:
        return str(told["$ref"]).rpartition("/")[2]
    if "anyOf" in told:
        return " or ".join(filter(None, (_range(one, schema) for one in told["anyOf"])))
    if "enum" in told:
        return " ".join(map(str, told["enum"]))
    low = told.get("minimum", told.get("exclusiveMinimum"))
    high = told.get("maximum", told.get("exclusiveMaximum"))
    if low is None and high is None:
        return "" if told.get("type") in ("string", "array", None) else str(told["type"])
    left = "" if low is None else f"{low:g} {'<' if 'exclusiveMinimum' in told else '<='} "
    right = "" if high is None else f" {'<' if 'exclusiveMaximum' in told else '<='} {high:g}"
    return f"{left}x{right}"


def _unknown(kind: str, name: str, known: list[str]) -> Exception:
    import difflib

    from stillhouse.cli.failures import Mistaken

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(known)}."
    return Mistaken(f"There is no {kind} {name}. {hint}")
