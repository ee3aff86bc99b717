"""What a message may ask for. Each carries an id; everything else is in the row."""

from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from app import loglines, queue
from workers.celery_app import app, host


@task_prerun.connect  # type: ignore[untyped-decorator]
def _begin(task: Any, args: Any, **_: Any) -> None:
    """Every line logged by a task says what it is at, and of which request."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        task=task.name.rpartition(".")[2],
        subject=args[0],
        **loglines.received(task.request.headers),
    )


@task_postrun.connect  # type: ignore[untyped-decorator]
def _end(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


@app.task(name=queue.RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    host().supervisor.run(job_id)


@app.task(name=queue.EXPORT_STUDENT)  # type: ignore[untyped-decorator]
def export_student(job_id: str) -> None:
    host().exporter.export(job_id)


@app.task(name=queue.INSPECT_TEACHER)  # type: ignore[untyped-decorator]
def inspect_teacher(teacher_id: str) -> None:
    host().inspector.teacher(teacher_id)


@app.task(name=queue.INSPECT_DATASET)  # type: ignore[untyped-decorator]
def inspect_dataset(dataset_id: str) -> None:
    host().inspector.dataset(dataset_id)


@app.task(name=queue.EVALUATE)  # type: ignore[untyped-decorator]
def evaluate(evaluation_id: str) -> None:
    host().inspector.evaluation(evaluation_id)


@app.task(name=queue.REPORT_KNOWLEDGE)  # type: ignore[untyped-decorator]
def report_knowledge(report_id: str) -> None:
    host().inspector.report(report_id)
