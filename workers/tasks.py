"""What a message may ask for. Each carries an id; everything else is in the row."""

from app import queue
from workers.celery_app import app, host


@app.task(name=queue.RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    host().supervisor.run(job_id)


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
