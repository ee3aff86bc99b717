"""load.py: a student's network in one file that needs torch and safetensors alone.

It is made from the sources of `workers.networks`, so that it cannot say anything else than they
do: what a network's class uses is copied behind one another, without annotations, docstrings and
what only training needs, and the fields of its specification that are read become literals.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from app.spec.networks import Network
from app.spec.quantization import Quantization
from workers.networks import module_of
from workers.networks.linear import Linear
from workers.networks.preprocess import Preprocessed
from workers.networks.quantized import emptied

OURS = "workers.networks"
PURE = frozenset({("app.spec.quantization", "packed")})
"""What networks use of the specification beside its fields: arithmetic alone."""
ONLY_TRAINING = frozenset({"constrain", "classifier"})
"""Methods that a loaded network can do without."""
REPLACED = {(Linear.__module__, Linear.__name__): "from torch.nn import Linear"}
"""The same function by the public class; ours is there for its speed in training."""

FILE = '''\
"""A student distilled by Stillhouse. Needs torch and safetensors, nothing else.

    from load import load

    student = load()          # in eval mode
    logits = student(batch)   # {rows}
"""

{imports}

{constants}


{definitions}


def load(folder=Path(__file__).parent):
    """The student with its weights, in eval mode. It normalises its input by itself."""
    about = json.loads((Path(folder) / "network.json").read_text())
    student = Preprocessed({network}, **about["preprocess"])
    student.network.load_state_dict(load_file(Path(folder) / "student.safetensors"))
    return student.eval()
'''
ALWAYS = (
    "import json",
    "from pathlib import Path",
    "from types import SimpleNamespace",
    "from safetensors.torch import load_file",
)


class NotPortable(Exception):
    """A network's source leans on something that a bundle cannot bring along."""


def loader(
    spec: Network,
    quantization: Quantization | None = None,
    *,
    rows: str = "a batch as it is stored -> N x classes",
) -> str:
    """The source of load.py. `rows` says what goes in and what comes out. Raises NotPortable."""
    network = module_of.dispatch(type(spec))
    made = f"{network.__name__}(SPEC)"
    wanted: list[Any] = [network, Preprocessed]
    if quantization is not None:
        made = f"{emptied.__name__}({made}, QUANTIZATION)"
        wanted.append(emptied)
    copied = _Copied()
    for used in wanted:
        copied.take(sys.modules[used.__module__], used.__name__)
    constants = [f"SPEC = {_literal(spec, copied.fields())}"]
    if quantization is not None:
        constants.append(f"QUANTIZATION = {_form(quantization, spec)}")
    return FILE.format(
        rows=rows,
        imports=_in_order({*ALWAYS, *copied.imports}),
        constants="\n".join(constants),
        definitions="\n\n\n".join(map(ast.unparse, copied.definitions.values())),
        network=made,
    )


def _form(quantization: Quantization, spec: Network) -> str:
    """What layers of integers ask of it: the layers are named, as the specification stays here."""
    layers = quantization.layers(spec)
    weights, top = quantization.weights, quantization.top
    return f"SimpleNamespace(weights={weights}, top={top}, layers=lambda network: {layers!r})"


class _Copied:
    """Definitions, each after those that it uses, and the imports from elsewhere."""

    def __init__(self) -> None:
        self.definitions: dict[tuple[str, str], ast.stmt] = {}
        self.imports: set[str] = set()
        self._begun: set[tuple[str, str]] = set()
        self._sources: dict[str, _Source] = {}

    def take(self, module: ModuleType, name: str) -> None:
        """A name of a module and all that it stands on."""
        key = (module.__name__, name)
        if key in self._begun:
            return
        self._begun.add(key)
        if module.__name__ not in self._sources:
            self._sources[module.__name__] = _Source(inspect.getsource(module))
        source = self._sources[module.__name__]
        if name in source.imported:
            self._import(source.imported[name])
        elif name in source.defined:
            self._define(module, name, source.defined[name])
        # Else it is a builtin, an argument or a local variable.

    def _define(self, module: ModuleType, name: str, node: ast.stmt) -> None:
        key = (module.__name__, name)
        if key in REPLACED:
            self.imports.add(REPLACED[key])
            return
        slim = _Slim().visit(node)
        for used in _names(slim):
            self.take(module, used)
        if any(other == name for _, other in self.definitions):
            raise NotPortable(f"two definitions are called {name}")
        self.definitions[key] = slim

    def _import(self, found: ast.Import | ast.ImportFrom) -> None:
        origin = found.module or "" if isinstance(found, ast.ImportFrom) else found.names[0].name
        pure = (origin, found.names[0].name) in PURE
        if pure or origin == OURS or origin.startswith(OURS + "."):
            self.take(sys.modules[origin], found.names[0].name)
        elif origin.partition(".")[0] in ("app", "workers"):
            raise NotPortable(f"{ast.unparse(found)}: not in a bundle")
        else:
            self.imports.add(ast.unparse(found))

    def fields(self) -> set[str]:
        """What is read of a specification."""
        return {
            node.attr
            for definition in self.definitions.values()
            for node in ast.walk(definition)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "spec"
        }


class _Source:
    """A module's top level: what it defines, and what it imports, by name."""

    def __init__(self, text: str) -> None:
        self.defined: dict[str, ast.stmt] = {}
        self.imported: dict[str, ast.Import | ast.ImportFrom] = {}
        for node in ast.parse(text).body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    self.defined[name] = node
                case ast.Assign(targets=[ast.Name(id=name)]):
                    self.defined[name] = node
                case ast.Import(names=names):
                    for one in names:
                        self.imported[one.asname or one.name] = ast.Import([one])
                case ast.ImportFrom(module=module, names=names):
                    for one in names:
                        alone = ast.ImportFrom(module, [one], 0)
                        self.imported[one.asname or one.name] = alone


class _Slim(ast.NodeTransformer):
    """Takes out annotations, docstrings, initialisation and what only training needs."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        self.generic_visit(node)
        node.returns = None
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
        node.body = _without_docstring(node.body)
        hollow = not node.body or _raises_not_implemented(node.body[0])
        return None if hollow or node.name in ONLY_TRAINING else node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _without_docstring(node.body) or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if _initialises(node.value) else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return self._unless_empty(node)

    def visit_For(self, node: ast.For) -> ast.AST | None:
        return self._unless_empty(node)

    def _unless_empty(self, node: ast.If | ast.For) -> ast.AST | None:
        self.generic_visit(node)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.Pass()]
        return node


def _initialises(call: ast.expr) -> bool:
    """Whether it fills fresh weights, which are about to be loaded."""
    if not isinstance(call, ast.Call):
        return False
    name = ast.unparse(call.func)
    return name.startswith(("nn.init.", "initialise_"))


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    return [
        node
        for node in body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def _raises_not_implemented(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)


def _names(node: ast.AST) -> Iterator[str]:
    """Names that are read, in the order of the text."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id


def _literal(value: Any, fields: set[str]) -> str:
    if isinstance(value, BaseModel):
        read = sorted(name for name in fields if hasattr(value, name))
        inner = ", ".join(f"{name}={_literal(getattr(value, name), fields)}" for name in read)
        return f"SimpleNamespace({inner})"
    text = repr(value)
    if ast.literal_eval(text) != value:
        raise NotPortable(f"{text} is no literal")
    return text


def _in_order(lines: set[str]) -> str:
    """The standard library's first, then the others."""

    def elsewhere(line: str) -> bool:
        return line.split()[1].partition(".")[0] not in sys.stdlib_module_names

    def group(wanted: bool) -> str:
        return "\n".join(
            sorted(
                (line for line in lines if elsewhere(line) is wanted),
                key=lambda line: (line.startswith("from"), line),
            )
        )

    return f"{group(False)}\n\n{group(True)}"
