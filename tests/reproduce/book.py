"""A small book: a teacher and its students on digits, trained for real."""

from typing import Any

from benchmarks.reproduce.runs import Book, Run


def job(hidden: int, method: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "student": {"network": {"family": "mlp", "inputs": 64, "hidden": [hidden], "classes": 10}},
        "method": method,
        "training": {"epochs": 6, "batch_size": 32, "optimizer": {"name": "adam", "lr": 0.003}},
        "baseline": None,
        **more,
    }


BOOK = Book.of(
    [
        Run("t/plain/0", "digits", job(12, {"name": "supervised"})),
        Run("t/kd/0", "digits", job(12, {"name": "kd"}), ("t/teacher/0",)),
        Run("t/teacher/0", "digits", job(48, {"name": "supervised"}), wave=5),
        Run(
            "t/no-3/0",
            "digits",
            job(12, {"name": "kd"}, transfer={"exclude_classes": [3]}, baseline={"seeds": 3}),
            ("t/teacher/0",),
            wave=1,
        ),
    ]
)
