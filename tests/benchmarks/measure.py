"""What the benchmarks share: a process of its own for each case, its peak memory, and the machine's name."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

MIB = 2**20


def machine() -> str:
    """Processor, cores, threads, load and torch, for the line above a table.

    On cores that other jobs use too, say OMP_NUM_THREADS=1: threads that wait for one another crawl.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    return f"{name}, {os.cpu_count()} cores, threads: {threads}, {platform.system()}, torch {version('torch')}{load}"


def in_own_process(script: str, *arguments) -> dict:
    """Run `python script arguments`; its last line of output is JSON. The tests' one torch thread ends here."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


class PeakMemory:
    """Peak of resident memory in MiB since this was made, over what the process held then."""

    def __init__(self):
        try:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
        except OSError:
            pass
        self.before = self._status("VmRSS") if sys.platform == "linux" else self._maxrss()

    def __call__(self) -> float:
        return (self._status("VmHWM") if sys.platform == "linux" else self._maxrss()) - self.before

    @staticmethod
    def _status(key: str) -> float:
        """From /proc: after a fork, Linux's ru_maxrss counts the parent's memory as the child's."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

    @staticmethod
    def _maxrss() -> float:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (MIB if sys.platform == "darwin" else 1024)
