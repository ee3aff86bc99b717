"""The service under load, on this machine alone.

    python -m benchmarks.service [SECTION ...] [--postgres URL] [--rounds N] ...

Sections: transfers (bytes in and out, memory), starts (POST to the first step), curves (metrics of
a long job, and writing them), requests (POST and GET rates), pollers (what many clients cost a
training), streams (how late many clients hear of running jobs). Without any, all of them.
Everything that is measured on PostgreSQL has a database of its own in the server at --postgres, or
a server of its own from a wheel.
"""
