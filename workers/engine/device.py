"""Which device, how many threads, which precision: every `auto` resolved once."""

import contextlib
import os
import time
from dataclasses import dataclass

import torch

from app.spec.jobfile import Resolved
from app.spec.training import auto_precision


def pick_device(wanted: str, slot: int = 0) -> torch.device:
    """`auto` is an accelerator, else the CPU. Of several, where `wanted` names none, slots take
    theirs in turn."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and slot:
        return torch.device("cuda", slot % torch.cuda.device_count())
    return torch.device(wanted)


def place(wanted: str, resolved: Resolved, slot: int = 0) -> tuple[torch.device, Resolved]:
    """Where a job is trained that may have begun elsewhere, and what is then resolved.

    `auto` goes on where it began, if there is such a device here; precision and threads stay.
    """
    here = pick_device(wanted, slot)
    if wanted == "auto" and here.type != resolved.device == "cpu":
        here = torch.device("cpu")
    return here, resolved.model_copy(update={"device": here.type})


def make_faithful(device: torch.device) -> None:
    """Makes kernels of an accelerator compute what is asked, in the same order each time: float32
    products in float32 (cuDNN takes TF32), and no sums in whatever order threads come. Warns of
    operations that have no such kernel."""
    if device.type != "cuda":
        return
    # cuBLAS reads it at a process's first product: a trainer has it from its worker.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(device)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(mode=True, warn_only=True)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve(device: str, threads: int | None, precision: str, flops: int) -> Resolved:
    """Fixes device, CPU threads and precision for a student of `flops` an example."""
    place = pick_device(device)
    if precision == "auto":
        precision = auto_precision(flops, fast_bf16=has_fast_bf16(place))
    return Resolved(
        device=place.type, threads=threads or len(os.sched_getaffinity(0)), precision=precision
    )


@dataclass(frozen=True)
class Arithmetic:
    """The precision of forward and backward on a device."""

    device: torch.device
    precision: str

    def __call__(self) -> contextlib.AbstractContextManager[object]:
        """The autocast region for a forward pass; nothing for fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which only fp16 needs."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def memory_bytes(device: torch.device) -> int:
    """The device's whole memory."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def measure_step_s(device: torch.device, steps: int = 20) -> float:
    """Seconds of a training step with next to no arithmetic, in a few milliseconds of trying: what
    small networks pay for, however fast the matrix products are."""
    network = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16))
    network.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    inputs = torch.ones(8, 16, device=device)
    best = float("inf")
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        network(inputs).square().mean().backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return round(best, 6)


def measure_gflops(device: torch.device, size: int = 768) -> dict[str, float]:
    """Matrix rates in GFLOP/s by precision, in a few tens of milliseconds."""
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if name == "bf16" and not has_fast_bf16(device):
            continue
        a = torch.randn(size, size, device=device).to(dtype)
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            a @ a
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
        rates[name] = round(2 * size**3 / best / 1e9, 1)
    return rates
