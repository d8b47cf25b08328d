"""A step of the default painting at 256 px, quiet and beside a busy program for each core: threads that soon sleep
while they wait (`OMP_WAIT_POLICY` and `GOMP_SPINCOUNT`, which nstlib sets) against threads that spin, as without it."""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

from measure import in_own_process, machine

BUSY = ["-c", "print(flush=True)\nwhile True: pass"]


def measure(policy: str, steps: int) -> float:
    """Seconds of a step in this process, the mean of some: what one waits for."""
    if policy == "default":
        import torch  # noqa: F401  (loaded before nstlib, it has read the environment without the setting)
    import nstlib as nst

    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    content, style = (nst.load_image(name, 256) for name in ("cat", "swirl"))
    painter = nst.GatysPainter(content, [style], nst.GatysConfig(device="cpu", backbone="compact"))
    painter.step(3)
    print("begun", flush=True)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        painter.step()
        times.append(time.perf_counter() - start)
    return statistics.mean(times)


@contextmanager
def beside(commands: list[list]):
    """Other programs at work."""
    running = [subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE) for command in commands]
    for process in running:
        process.stdout.readline()  # it has begun
    yield
    for process in running:
        process.kill()
        process.communicate()  # and closes its pipe


def test_busy(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    print(f"\n\nA step of the default painting at 256 px, {machine()}\n")
    neighbours = {
        "nothing": lambda policy: [],
        "an endless loop per core": lambda policy: [BUSY] * os.cpu_count(),
        "a painting per core": lambda policy: [[__file__, policy, 10**6]] * os.cpu_count(),  # they wait as it does
    }
    print("| beside it | spinning | soon asleep (ours) | spinning : ours |\n|---|---:|---:|---:|")
    ratios = {}
    for name, commands in neighbours.items():
        found = {"default": [], "passive": []}
        for _ in range(5):  # in turns, so that what else the machine does meets both
            for policy, times in found.items():
                with beside(commands(policy)):
                    times.append(in_own_process(__file__, policy, 20)["seconds"])
        spinning, ours = (statistics.median(times) for times in found.values())
        ratios[name] = spinning / ours
        print(f"| {name} | {spinning:.3f} s | {ours:.3f} s | {ratios[name]:.2f} |")
    assert ratios.pop("nothing") > 1 / 1.1 and min(ratios.values()) > 1.2  # far from what was found: machines differ


if __name__ == "__main__":
    print(json.dumps({"seconds": measure(sys.argv[1], int(sys.argv[2]))}))
