"""An S3 server as a process: moto behind HTTP. `python -m tests.s3 PORT RECORDING`.

It keeps its objects in memory, and what it was asked in a file, so that it can be killed and come
back with all it had.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

BUCKET = "stillhouse"
ACCESS = {
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_REGION": "us-east-1",
}


class S3:
    """The server, seen from a test."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {**ACCESS, "AWS_ENDPOINT": self.endpoint}
        self._folder = folder
        self.start()
        httpx.put(f"{self.endpoint}/{BUCKET}").raise_for_status()

    def start(self) -> None:
        """Returns once it answers, with all that it had before."""
        recording = self._folder / "recording"
        environment = {
            **os.environ,
            "MOTO_ENABLE_RECORDING": "True",
            "MOTO_RECORDER_FILEPATH": str(recording),
        }
        with (self._folder / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.s3", str(self.port), str(recording)],
                env=environment,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        while True:
            try:
                return httpx.get(f"{self.endpoint}/moto-api/", timeout=5).raise_for_status()
            except httpx.TransportError:
                assert time.monotonic() < until, (self._folder / "s3.log").read_text()
                time.sleep(0.05)

    def keys(self) -> list[str]:
        listing = httpx.get(f"{self.endpoint}/{BUCKET}?list-type=2").text
        return [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]

    def requests(self) -> list[str]:
        """The lines of its log."""
        return (self._folder / "s3.log").read_text(errors="replace").splitlines()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def main(port: int, recording: Path) -> None:
    from moto.moto_api import recorder

    back = recording.exists()
    with socket.create_server(("127.0.0.1", 0)) as free:
        private = free.getsockname()[1]
    if back:
        # Nobody may ask before all is back: an object would seem to be gone.
        recorder.stop_recording()
        listen(private)
        recorder.replay_recording(target_host=f"http://127.0.0.1:{private}")
        recorder.start_recording()
    listen(port)
    signal.pause()


def listen(port: int) -> None:
    """One request after another: side by side, they would garble the recording."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    one_at_a_time = threading.Lock()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: Any, start_response: Any) -> list[bytes]:
        with one_at_a_time:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", port, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
