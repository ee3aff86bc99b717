"""A local .pt checkpoint as safetensors, made on the user's own machine.

torch reads it with `weights_only`, which loads tensors and runs no code of the file; nothing but
tensors goes on from here. torch and safetensors are imported when this is used, and never before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import NotConvertible

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
INNER = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where training scripts keep the weights among other things."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Converted:
    """What became of a checkpoint."""

    path: Path
    tensors: int
    left_out: tuple[str, ...]
    """Entries that were no tensors."""


def to_safetensors(source: Path, to: Path) -> Converted:
    """Raises NotConvertible, OSError, or ImportError without torch and safetensors."""
    torch, save_file = _libraries()
    state, left_out = _tensors(_loaded(torch, source), torch)
    if not state:
        raise NotConvertible(f"{source} holds no tensors.")
    # Tied weights share memory, which the format does not allow: each gets its own.
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, to)
    return Converted(to, len(state), tuple(left_out))


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise ImportError(
            "Converting a .pt file needs torch and safetensors on this machine: "
            "pip install 'stillhouse-client[convert]'. A safetensors file needs neither."
        ) from error
    return torch, save_file


def _loaded(torch: Any, source: Path) -> Any:
    source.open("rb").close()  # its own OSError, before torch has one of many
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # of half a dozen kinds, by what the file is instead
        failure = NotConvertible(
            f"{source} holds more than tensors, or is no checkpoint: {_first_line(error)}"
        )
        failure.hint = (
            "Only tensors are read, since anything else in such a file could run code. Where you "
            "trust it, save its weights alone: torch.save(model.state_dict(), 'weights.pt')."
        )
        raise failure from error


def _tensors(loaded: Any, torch: Any) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(loaded, Mapping):
        raise NotConvertible(f"It holds a {type(loaded).__name__}, not a state dict.")
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200] + "."
