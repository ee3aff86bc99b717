"""Real trainings on real processes that are killed, stopped and cut off, and then an audit.

    python -m benchmarks.chaos [--jobs 40] [--faults 16] [--hours H] [--seed 0]
                               [--on embedded|postgres|both] [--table FILE]

A dozen different jobs is first run undisturbed. Then clients submit, pause, resume, cancel and
clone such jobs while a seeded injector breaks something every few seconds. At the end the rows,
the stored bytes and every student are compared with the undisturbed ones.

Embedded means SQLite and the Valkey of `make serve`; postgres means a PostgreSQL and a Valkey on
TCP of the run's own, so that nobody else's are killed.
"""
