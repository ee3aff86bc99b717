"""The workers: Celery tasks that supervise, and the engine that trains."""

import os

# Before anything imports torch: threads that wait by spinning take the cores from whoever shares
# them (a training of 2 s took 65 s beside another one), and cost nothing measurable when alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
