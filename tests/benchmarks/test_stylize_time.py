"""A whole painting with the defaults, `stylize("cat", "swirl")`: seconds, memory and final losses."""

import json
import time

from measure import PeakMemory, in_own_process, machine

from nstlib import GatysConfig, load_image, stylize


def measure():
    """Paint in this process; seconds, peak MiB and the last state's losses."""
    load_image("cat"), load_image("swirl")
    states, start, peak = [], time.perf_counter(), PeakMemory()

    def keep(state):
        states[-1:] = [state]

    painted = stylize("cat", "swirl", callback=keep)
    measured = {"seconds": time.perf_counter() - start, "memory": peak(), "shape": list(painted.shape)}
    return measured | {"losses": states[-1].losses}


def test_stylize_time():
    config = GatysConfig()
    print(f'\n\n`stylize("cat", "swirl")`, {config.size} px, {config.steps} steps a size, {machine()}\n')
    print("| result | time | peak memory | content loss | style loss | total |")
    print("|---|---:|---:|---:|---:|---:|")
    measured = in_own_process(__file__)
    height, width = measured["shape"][-2:]
    content, style, total = (measured["losses"][name] for name in ("content", "style", "total"))
    print(
        f"| {width}×{height} | {measured['seconds']:.1f} s | {measured['memory']:.0f} MiB "
        f"| {content:.4f} | {style:.5f} | {total:.3f} |"
    )
    assert max(height, width) == config.size


if __name__ == "__main__":
    print(json.dumps(measure()))
