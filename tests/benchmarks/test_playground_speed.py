"""How quickly the playground answers: from a slider's message to the new picture, as JPEG, in the kernel."""

import json
import statistics
import time

from measure import in_own_process, machine

from nstlib.screen.playground import Playground


def measure() -> dict[int, float]:
    """Median milliseconds of 40 moves of the strength slider, at each size."""
    found = {}
    for size in (256, 512):
        desk = Playground("studio", content="astronaut", quick=size, size=640)
        times = []
        for i in range(40):
            start = time.perf_counter()
            desk.strength.value = round(1 - 0.02 * (i + 1), 2)
            times.append(1000 * (time.perf_counter() - start))
        found[size] = statistics.median(times)
    return found


def test_playground_speed():
    found = in_own_process(__file__)
    print(f"\n\nPlayground, slider to picture, {machine()}\n")
    for size, milliseconds in found.items():
        print(f"{size} × {size} pixels: {milliseconds:.0f} ms, median of 40")
    assert len(found) == 2


if __name__ == "__main__":
    print(json.dumps(measure()))
