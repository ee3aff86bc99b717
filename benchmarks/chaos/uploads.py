"""The API killed at its worst moments: in the middle of an upload, and before an answer."""

import hashlib
import http.client
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
from sqlalchemy import select

from app.tables import Job
from benchmarks.chaos.client import PATIENCE_S
from benchmarks.chaos.service import Service
from benchmarks.chaos.work import Work

BLOCK = 64 * 1024
BLOCKS = 48


class Uploads:
    """`files` maps the id of every uploaded file to the hash of what was sent."""

    def __init__(self, service: Service, work: Work, seed: int) -> None:
        self._service = service
        self._work = work
        self._seed = seed
        self._number = 0
        self.files: dict[str, str] = {}
        self.troubles: list[str] = []
        self.replayed = 0
        """Jobs that were accepted, not answered, and found again by their key."""

    def cut(self) -> bool:
        """Kills the API when half of a body has arrived, and sends the body again."""
        self._number += 1
        content = random.Random(f"{self._seed}/{self._number}").randbytes(BLOCK * BLOCKS)
        key = f"upload-{self._number}"

        def body(*, fatal: bool) -> Iterator[bytes]:
            for number in range(BLOCKS):
                if fatal and number == BLOCKS // 2:
                    self._kill()
                yield content[number * BLOCK : (number + 1) * BLOCK]

        sha256 = hashlib.sha256(content).hexdigest()
        with suppress(OSError, http.client.HTTPException):
            status, answer = self._upload(body(fatal=True), len(content), key)
            self.troubles.append(f"{key}: {status} although the API was killed: {answer}")
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError, http.client.HTTPException, ValueError):
                status, answer = self._upload(body(fatal=False), len(content), key)
                if status == 201:
                    self.files[answer["id"]] = sha256
                    if answer["sha256"] != sha256:
                        self.troubles.append(f"{key}: {answer}")
                    return True
            time.sleep(0.2)
        self.troubles.append(f"{key}: never stored")
        return True

    def _upload(self, body: Iterator[bytes], size: int, key: str) -> tuple[int, dict[str, str]]:
        place = urlsplit(self._service.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=15)
        try:
            headers = {
                "Content-Length": str(size),
                "Content-Type": "application/octet-stream",
                "X-Filename": f"{key}.bin",
                "Idempotency-Key": key,
            }
            connection.request("POST", "/files", body=body, headers=headers, encode_chunked=False)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def unanswered(self) -> bool:
        """Posts a job, kills the API as soon as its row is there, and never reads an answer;
        then asks again as a client would."""
        key, kind, _ = self._work.next_key()
        body = {**kind.body, "name": key}
        content = json.dumps(body).encode()
        place = urlsplit(self._service.url)
        head = (
            f"POST /jobs HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        committed = None
        with suppress(OSError), socket.create_connection((place.hostname, place.port), 5) as raw:
            raw.sendall(head.encode() + content)
            until = time.monotonic() + 3
            while committed is None and time.monotonic() < until:
                with suppress(Exception), self._service.database.reading() as session:
                    committed = session.scalar(select(Job.id).where(Job.name == key))
            self._kill()
        job = self._work.client.post("/jobs", body, key=key)["id"]
        self._work.note(job, key, kind)
        if committed is not None:
            self.replayed += 1
            if committed != job:
                self.troubles.append(f"{key}: first {committed}, then {job}")
        return committed is not None

    def _kill(self) -> None:
        for api in self._service.named("app.asgi"):
            with suppress(psutil.Error):
                api.kill()
