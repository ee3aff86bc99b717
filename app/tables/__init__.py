"""Every row of the service, by subject."""

from app.tables.artifacts import Artifact, Export
from app.tables.base import DEFAULT_PROJECT, Json, Owned, Row
from app.tables.files import Blob, File, Upload, UploadPart
from app.tables.jobs import Job, JobEvent, JobLabel, JobLog, Sweep
from app.tables.machines import Tally, Worker
from app.tables.materials import Dataset, Evaluation, KnowledgeReport, Teacher
from app.tables.metrics import MetricPoint, MetricRollup, MetricSeries
from app.tables.outbox import Delivery, IdempotencyKey, Webhook
from app.tables.projects import ApiKey, AuditEntry, Project

__all__ = [
    "DEFAULT_PROJECT",
    "ApiKey",
    "Artifact",
    "AuditEntry",
    "Blob",
    "Dataset",
    "Delivery",
    "Evaluation",
    "Export",
    "File",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "JobLabel",
    "JobLog",
    "Json",
    "KnowledgeReport",
    "MetricPoint",
    "MetricRollup",
    "MetricSeries",
    "Owned",
    "Project",
    "Row",
    "Sweep",
    "Tally",
    "Teacher",
    "Upload",
    "UploadPart",
    "Webhook",
    "Worker",
]
