"""A small file system for the service's data directory, which a fault can fill."""

import os
import subprocess
import time
from pathlib import Path

SIZE_MIB = 2048


class Disk:
    """A tmpfs mounted on `folder`, where that is allowed; else the folder as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "stillhouse", str(folder)]
        try:
            self.small = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            self.small = False

    @property
    def used_mib(self) -> float:
        stat = os.statvfs(self.folder)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize / 2**20

    def fill(self, seconds: float) -> None:
        """Leaves no byte free for so long."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb") as file:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    stat = os.statvfs(self.folder)
                    if free := stat.f_bavail * stat.f_frsize:
                        end = file.seek(0, os.SEEK_END)
                        os.posix_fallocate(file.fileno(), end, free)
                    time.sleep(0.02)
        except OSError:  # somebody else took the rest meanwhile
            time.sleep(seconds)
        finally:
            ballast.unlink()

    def close(self) -> None:
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
