"""The distillation loop that tutorials show: what ours is measured against.

A DataLoader over tensors, the teacher's forward in every step, `.item()` in every step, the
optimiser's defaults, float32.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Float images with a transform for each sample."""

    def __init__(
        self, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return (self.transform(image) if self.transform else image), self.labels[index]


def crop_and_flip(image: Tensor) -> Tensor:
    """Pad by 4, a random 32 x 32 window, mirrored half of the time: C x H x W."""
    padded = F.pad(image, (4, 4, 4, 4))
    y, x = (int(offset) for offset in torch.randint(0, 9, (2,)))
    image = padded[:, y : y + image.shape[1], x : x + image.shape[2]]
    return image.flip(2) if torch.rand(()) < 0.5 else image


def train(
    student: nn.Module,
    teacher: nn.Module,
    data: Examples,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int,
    temperature: float,
    alpha: float,
    rate: Callable[[float], float],
) -> float:
    """Seconds for `epochs`; the student is trained in place."""
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    teacher.eval()
    student.train()
    base = optimizer.param_groups[0]["lr"]
    losses, hits = 0.0, 0
    began = time.perf_counter()
    for epoch in range(epochs):
        for number, (images, labels) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = base * rate((epoch + number / len(loader)) / epochs)
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
            soft = F.kl_div(
                F.log_softmax(logits / temperature, dim=1),
                F.softmax(teacher_logits / temperature, dim=1),
                reduction="batchmean",
            )
            hard = F.cross_entropy(logits, labels)
            loss = alpha * temperature**2 * soft + (1 - alpha) * hard
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
            hits += (logits.argmax(1) == labels).sum().item()
    return time.perf_counter() - began
