"""The memory that enlarging to 12 megapixels takes, in a process of its own, saving included; prints JSON."""

import json
import tempfile
from pathlib import Path

import numpy as np
from measure import PeakMemory

from nstlib import save_image
from nstlib.painting.upscale import enlarge

small = np.random.default_rng(0).integers(0, 256, (750, 1000, 3), dtype=np.uint8)
peak = PeakMemory()
with tempfile.TemporaryDirectory() as folder:
    save_image(enlarge(small, "pixels"), Path(folder) / "large.png")
print(json.dumps({"peak": peak(), "before": peak.before}))
