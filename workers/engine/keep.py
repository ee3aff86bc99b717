"""What a plan makes beside its stages: results kept for a resumed run, and files for the client."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.engine.reporter import Reporter, file_facts

ONCE = "once"
"""The kind of artifacts that only later attempts read."""


@dataclass(frozen=True)
class Keep:
    """A run's folder, and what earlier attempts of the job have kept."""

    out: Path
    reporter: Reporter
    known: dict[str, Path] = field(default_factory=dict)
    """By artifact name."""
    run: str = ""
    """Put before keys by runs that must not share what others computed."""

    def once(self, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What `compute` returned when the job first came here: a resumed run is given the same."""
        name = f"{ONCE}-{self.run}{key}.safetensors"
        if name not in self.known:
            tensors = {part: value.cpu().contiguous() for part, value in compute().items()}
            save_file(tensors, self.out / name)
            self._tell(name, ONCE, "safetensors")
            self.known[name] = self.out / name
        return load_file(self.known[name])

    def publish(self, name: str, kind: str, format_: str, write: Callable[[Path], None]) -> None:
        """Lets `write` make a file and offers it to the client as an artifact."""
        write(self.out / name)
        self._tell(name, kind, format_)

    def _tell(self, name: str, kind: str, format_: str) -> None:
        self.reporter.send(
            "artifact", name=name, kind=kind, format=format_, **file_facts(self.out / name)
        )
