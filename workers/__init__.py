"""The workers: Celery tasks that supervise, and the engine that trains."""

import os

# Before anything imports torch. libgomp's own default spins for milliseconds: a training of 2 s
# took 65 s beside another one. This is enough for the gaps within a step, and
# `workers.engine.waiting` stops it altogether while the cores are shared.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
