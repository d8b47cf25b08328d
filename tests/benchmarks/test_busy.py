"""A step of the default painting at 256 px, quiet and beside a busy process for each core: threads that wait asleep
(`OMP_WAIT_POLICY=PASSIVE`, which nstlib sets) against threads that wait spinning, as without it."""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

from measure import in_own_process, machine

BUSY = "while True: pass"


def measure(policy: str, steps: int) -> float:
    """Seconds of a step in this process, the median of some."""
    if policy == "default":
        import torch  # noqa: F401  (loaded before nstlib, it has read the environment without the setting)
    import nstlib as nst

    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    content, style = (nst.load_image(name, 256) for name in ("cat", "swirl"))
    painter = nst.GatysPainter(content, [style], nst.GatysConfig(device="cpu", backbone="compact"))
    painter.step(3)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        painter.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def busy(processes: int):
    """Other programs at work, one for each core."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    yield
    for process in running:
        process.kill()
        process.wait()


def test_busy(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    print(f"\n\nA step of the default painting at 256 px, {machine()}\n")
    print("| beside it | spinning | asleep (ours) | spinning : asleep |\n|---|---:|---:|---:|")
    ratios = {}
    for beside, processes, steps in (("nothing", 0, 20), ("a busy process per core", os.cpu_count(), 10)):
        found = {"default": [], "passive": []}
        with busy(processes):
            for _ in range(3):  # in turns, so that what else the machine does meets both
                for policy, times in found.items():
                    times.append(in_own_process(__file__, policy, steps)["seconds"])
        spinning, asleep = (statistics.median(times) for times in found.values())
        ratios[beside] = spinning / asleep
        print(f"| {beside} | {spinning:.2f} s | {asleep:.2f} s | {ratios[beside]:.2f} |")
    assert ratios["nothing"] > 1 / 1.1 and ratios["a busy process per core"] > 1.5


if __name__ == "__main__":
    print(json.dumps({"seconds": measure(sys.argv[1], int(sys.argv[2]))}))
