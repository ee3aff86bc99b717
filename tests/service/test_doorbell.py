import base64
import json
import socket
import time
from typing import Any

import pytest
import redis

from app.queue import TRAIN_QUEUES, Doorbell
from app.settings import Settings


@pytest.fixture
def broker(broker_url: str) -> redis.Redis:
    client = redis.Redis.from_url(broker_url)
    client.flushdb()
    return client


def messages(broker: redis.Redis, queue: str) -> list[tuple[str, Any]]:
    """Task and arguments of what waits."""
    found = [json.loads(raw) for raw in broker.lrange(queue, 0, -1)]
    assert all(message["content-type"] == "application/json" for message in found)
    return [
        (message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0])
        for message in found
    ]


def test_rings(broker: redis.Redis, broker_url: str) -> None:
    bell = Doorbell(Settings(broker_url=broker_url))
    bell.run_job("job_1")
    bell.run_job("job_2", "high")
    bell.run_job("job_3", "low")
    bell.inspect_teacher("tch_1")
    bell.inspect_dataset("dst_1")
    bell.close()
    assert messages(broker, "train") == [("workers.tasks.run_job", ["job_1"])]
    assert messages(broker, TRAIN_QUEUES["high"]) == [("workers.tasks.run_job", ["job_2"])]
    assert messages(broker, TRAIN_QUEUES["low"]) == [("workers.tasks.run_job", ["job_3"])]
    assert messages(broker, "light") == [
        ("workers.tasks.inspect_dataset", ["dst_1"]),
        ("workers.tasks.inspect_teacher", ["tch_1"]),
    ]


def test_a_flushed_broker_is_rung_again(broker: redis.Redis, broker_url: str) -> None:
    bell = Doorbell(Settings(broker_url=broker_url))
    bell.run_job("job_1")
    wait_for(lambda: messages(broker, "train"))
    broker.flushall()
    bell.run_job("job_2")
    bell.close()
    assert messages(broker, "train") == [("workers.tasks.run_job", ["job_2"])]


def test_a_flood_of_jobs_is_spread_and_all_of_it_rung_for(
    broker: redis.Redis, broker_url: str
) -> None:
    bell = Doorbell(Settings(broker_url=broker_url), at_once=5, jobs_per_s=20)
    began = time.monotonic()
    for index in range(12):
        bell.run_job(f"job_{index}")
    bell.inspect_teacher("tch_1")
    wait_for(lambda: messages(broker, "light"))
    assert time.monotonic() - began < 0.3, "who does not work off a queue is not held back"
    assert 5 <= len(messages(broker, "train")) < 12
    wait_for(lambda: len(messages(broker, "train")) >= 10)
    assert time.monotonic() - began > 0.2
    bell.close()
    rung = [arguments for _, arguments in reversed(messages(broker, "train"))]
    assert rung == [[f"job_{index}"] for index in range(12)]


def test_a_dead_broker_costs_nothing() -> None:
    bell = Doorbell(Settings(broker_url="redis://127.0.0.1:1/0"), capacity=10)
    assert seconds_of_ringing(bell) < 0.2
    started = time.monotonic()
    bell.close(timeout=0.2)
    assert time.monotonic() - started < 2


def test_a_hung_broker_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        bell = Doorbell(Settings(broker_url=f"redis://127.0.0.1:{port}/0"), capacity=10)
        assert seconds_of_ringing(bell) < 0.2
        bell.close(timeout=0.1)


def seconds_of_ringing(bell: Doorbell) -> float:
    """A hundred times, and longest of all."""
    longest = 0.0
    for index in range(100):
        started = time.monotonic()
        bell.run_job(f"job_{index}")
        longest = max(longest, time.monotonic() - started)
    return longest


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
