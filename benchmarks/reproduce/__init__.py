"""The papers' experiments, run through the trainer's own door (workers.runner, no service).

    python -m benchmarks.reproduce [--only a|b|c] [--budget MINUTES] [--device cuda] [--list]

Part a is Hinton's MNIST (`hinton.py`), b every method on one small benchmark (`methods.py`), c the
CIFAR-100 table (`cifar.py`): each a list of runs, declared as data. A finished run is kept under
`.reproduce`, named by what determines it; an interrupted one goes on from its checkpoint. What
came out is written to docs/results.json, one line a run, and docs/results.md is made from that.
"""
