"""The main job in ten lines: a teacher goes in, a distilled student comes out."""

from stillhouse import Stillhouse, spec

still = Stillhouse()
digits = still.datasets.create(name="digits", source={"kind": "builtin", "name": "digits"}).wait()
file = still.files.upload("teacher.safetensors")
network = spec.MLP(family="mlp", inputs=64, hidden=[256, 256])
teacher = still.teachers.create(name="digits 256-256", file=file.id, network=network).wait()
student = spec.Student(network=spec.MLP(family="mlp", inputs=64, hidden=[12]))
job = still.jobs.create(teachers=[teacher.id], dataset=digits.id, student=student).wait()
print(job.metrics(["validation/accuracy"]).latest(), job.report()["sentence"])
print(job.download("student.safetensors"))
