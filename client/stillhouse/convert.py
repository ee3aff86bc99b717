"""A local checkpoint as safetensors, made on the user's own machine: of a .pt, or with other names.

torch reads it with `weights_only`, which loads tensors and runs no code of the file; nothing but
tensors goes on from here. torch and safetensors are imported when this is used, and never before.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import NotConvertible

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
INNER = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts keep the weights among other things."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
NAMED = 8
"""Tensors that a message names."""
METADATA, MOST_HEADER = "__metadata__", 64 << 20
FORBIDDEN = re.compile(r"\bGLOBAL ([\w.]+)")
"""What torch's refusal calls a thing in the file that is not tensors."""


@dataclass(frozen=True)
class Converted:
    """What became of a checkpoint."""

    path: Path
    tensors: int
    left_out: tuple[str, ...]
    """Entries that were no tensors."""


def to_safetensors(source: Path, to: Path, rename: Mapping[str, str] | None = None) -> Converted:
    """`rename` is as for `renamed`. Raises NotConvertible, OSError, or ImportError without torch
    and safetensors."""
    torch, save_file = _libraries()
    loaded = _loaded(torch, source)
    if not isinstance(loaded, Mapping):
        raise _refused(f"{source} holds a {type(loaded).__name__}, not a state dict.")
    state, left_out = _tensors(loaded, torch)
    if not state:
        raise _refused(f"{source} holds no tensors.")
    names = renamed(state, rename or {})
    state = {names[name]: tensor for name, tensor in state.items()}
    # Tied weights share memory, which the format does not allow: each gets its own.
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, to)
    return Converted(to, len(state), tuple(left_out))


def with_other_names(source: Path, to: Path, rename: Mapping[str, str]) -> None:
    """A safetensors file whose tensors are called otherwise; its bytes are copied as they are.
    Raises NotConvertible, or OSError."""
    with source.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            # A header beyond this is none: nobody's memory is to be filled by what is no header.
            header = json.loads(file.read(size)) if size <= MOST_HEADER else None
        except ValueError:
            header = None
        if not isinstance(header, dict):
            raise NotConvertible(f"{source} is no safetensors file.")
        names = renamed([name for name in header if name != METADATA], rename)
        text = json.dumps({names.get(name, name): it for name, it in header.items()}).encode()
        text += b" " * (-len(text) % 8)  # as the format's own writer aligns the tensors
        with to.open("wb") as other:
            other.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(file, other)


def renamed(names: Iterable[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Each name with its new one: of the keys of `rename` that it begins with, the longest is put
    into the other. Raises NotConvertible where one fits nothing, or two names become the same."""
    names, used = list(names), set()
    found: dict[str, str] = {}
    for name in names:
        old = max((one for one in rename if name.startswith(one)), key=len, default=None)
        used.add(old)
        found[name] = name if old is None else rename[old] + name.removeprefix(old)
    there = f"The file has {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}."
    if idle := [one for one in rename if one not in used]:
        raise NotConvertible(f"No tensor's name begins with {idle[0]!r}. {there}")
    if len(set(found.values())) < len(found):
        news = list(found.values())
        twice = next(name for name in news if news.count(name) > 1)
        raise NotConvertible(f"Two tensors would be called {twice!r}. {there}")
    return found


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise ImportError(
            "Converting a .pt file needs torch and safetensors on this machine: "
            "pip install './client[convert]'. A safetensors file needs neither."
        ) from error
    return torch, save_file


def _loaded(torch: Any, source: Path) -> Any:
    source.open("rb").close()  # its own OSError, before torch has one of many
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # of half a dozen kinds, by what the file is instead
        raise _refused(f"{source} {_instead(error)}. Nothing in it was run.") from error


def _instead(error: Exception) -> str:
    """What a file is that torch does not load. Its own words advise to run the file's code."""
    text = str(error)
    if found := FORBIDDEN.search(text):
        return f"holds more than tensors: reading all of it would call {found[1]}"
    if "TorchScript" in text:
        return "is a TorchScript program, not a state dict"
    if "weights" in text.lower():
        return "holds more than tensors"
    return "is no checkpoint that torch can read"


def _refused(text: str) -> NotConvertible:
    refused = NotConvertible(text)
    refused.hint = "Save the weights alone: torch.save(model.state_dict(), 'weights.pt')."
    return refused


def _tensors(loaded: Mapping[Any, Any], torch: Any) -> tuple[dict[str, Any], list[str]]:
    for name in INNER:
        inner = loaded.get(name)
        if isinstance(inner, Mapping) and any(torch.is_tensor(it) for it in inner.values()):
            loaded = inner
            break
    state = {str(name): it for name, it in loaded.items() if torch.is_tensor(it)}
    left_out = [str(name) for name, it in loaded.items() if not torch.is_tensor(it)]
    for wrapper in WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): it for name, it in state.items()}
    return state, left_out
