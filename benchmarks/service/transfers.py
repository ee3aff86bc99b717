"""Bytes in and out: rates, and what they cost the API in memory."""

import hashlib
import http.client
import json
import os
import statistics
import time

import httpx

from benchmarks.service.hosts import service
from benchmarks.service.memory import MIB, Memory

BLOCK = 4 * MIB


def measure(gib: float, rounds: int) -> list[str]:
    """Rows of the table."""
    size = int(gib * 1024) * MIB
    ups, downs = [], []
    with service() as host, host.client() as client:
        _upload(client, 64 * MIB, os.urandom(BLOCK))  # first use of everything
        with Memory(host.api[0]) as memory:
            for _ in range(rounds):
                block = os.urandom(BLOCK)
                digest = hashlib.sha256()
                for _ in range(size // BLOCK):
                    digest.update(block)
                seconds, file = _upload(client, size, block)
                ups.append(size / MIB / seconds)
                downs.append(size / MIB / _download(client, file, None))
                _download(client, file, digest.hexdigest())
    return [
        f"| upload of {gib:g} GiB, median of {rounds} | {statistics.median(ups):,.0f} MiB/s |",
        f"| download of {gib:g} GiB, median of {rounds} | {statistics.median(downs):,.0f} MiB/s |",
        f"| growth of the API's memory meanwhile | {memory.growth_mib:.1f} MiB |",
    ]


def _upload(client: httpx.Client, size: int, block: bytes) -> tuple[float, str]:
    """(seconds, file id) of one raw upload of `size` bytes."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    began = time.perf_counter()
    connection.request(
        "POST",
        "/files",
        body=(block for _ in range(size // len(block))),
        headers={
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "X-Filename": "big.bin",
        },
        encode_chunked=False,
    )
    answer = connection.getresponse()
    document = json.loads(answer.read())
    seconds = time.perf_counter() - began
    assert answer.status == 201, document
    connection.close()
    return seconds, str(document["id"])


def _download(client: httpx.Client, file: str, expected: str | None) -> float:
    """Seconds of one download; the hash is compared in a run of its own, when given."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    digest, buffer, size = hashlib.sha256(), bytearray(BLOCK), 0
    began = time.perf_counter()
    connection.request("GET", f"/files/{file}/content")
    answer = connection.getresponse()
    while count := answer.readinto(buffer):
        size += count
        if expected:
            digest.update(memoryview(buffer)[:count])
    seconds = time.perf_counter() - began
    assert answer.status == 200
    assert expected is None or digest.hexdigest() == expected
    connection.close()
    return seconds
