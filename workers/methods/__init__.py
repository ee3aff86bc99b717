"""The methods, a paper a file: each turns its parameters into a plan of stages."""

from workers.methods import kd, logits, supervised
from workers.methods.registry import plan

__all__ = ["kd", "logits", "plan", "supervised"]
