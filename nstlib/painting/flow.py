"""Motion between two frames of a clip: where every pixel went, where that can be trusted, where a scene ends."""

import numpy as np

from ..errors import NstError

TOLERANCE = 20.0  # of 255: matching colours differ by no more, mean of the channels
CUT = 0.15, 0.6  # shares of the picture: a flow that is trusted, and colours that match, on less: a new scene


def opencv():
    """OpenCV, imported when it is first needed."""
    try:
        import cv2
    except ImportError as error:
        raise NstError(
            "flow between frames needs OpenCV: pip install 'nstlib[video]', or carry=0 (--carry 0)"
        ) from error
    return cv2


def optical_flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where each pixel of one frame lies in another: displacements x, y `(H, W, 2)` in pixels.

    DIS (Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016), OpenCV's preset `medium`, but down
    to full size. The preset stops at half of it; that takes a third of the time and leaves half as much flicker again.

    Args:
        here, there: frames `(H, W, 3)` of uint8.
    """
    cv2 = opencv()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)]
    if min(grey[0].shape) < 16:  # smaller than DIS can use
        return np.zeros((*grey[0].shape, 2), np.float32)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return dis.calc(*grey, None)


def ends(flow: np.ndarray) -> np.ndarray:
    """Where each pixel comes to lie: x, y `(H, W, 2)` in pixels."""
    return np.indices(flow.shape[:2], dtype=np.float32)[::-1].transpose(1, 2, 0) + flow


def warp(image: np.ndarray, flow: np.ndarray, sharp: bool = True) -> np.ndarray:
    """`image (H, W, C)` as seen from the frame in which the flow starts.

    Args:
        sharp: Lanczos interpolation; linear interpolation, repeated from frame to frame, blurs.
    """
    cv2 = opencv()
    how = cv2.INTER_LANCZOS4 if sharp else cv2.INTER_LINEAR
    return cv2.remap(image, ends(flow), None, how, borderMode=cv2.BORDER_REFLECT)


def as_sharp(image: np.ndarray, model: np.ndarray) -> np.ndarray:
    """`image (H, W, C)` with fine detail as strong as another's: interpolation, repeated, weakens it."""
    blurred, detail = opencv().GaussianBlur(image, (0, 0), 2.0), model - opencv().GaussianBlur(model, (0, 0), 2.0)
    weak = float(np.square(image - blurred).mean())
    gain = (float(np.square(detail).mean()) / weak) ** 0.5 if weak else 1.0
    return blurred + min(max(gain, 1.0), 1.5) * (image - blurred)


def motion(here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """How the last frame turns into this one.

    There and back must lead home, within a pixel (Sundaram et al. 2010 and Ruder et al. 2016, equation 5, allow 0.7),
    or the pixel is hidden in the other frame; it must have been in the picture; and the colours must match, which
    finds what the flow has missed. (Ruder et al. leave out all edges of motion instead, their equation 6; there it
    would flicker on.)

    Args:
        here, there: this frame and the last, `(H, W, 3)` of uint8.

    Returns:
        The flow from here to there `(H, W, 2)`; where it can be trusted, `(H, W)` in [0, 1], with soft edges; and
        whether the last frame belongs to another scene.
    """
    flow, home = optical_flow(here, there), optical_flow(there, here)
    back = warp(home, flow, sharp=False)
    gap, length = (
        np.square(vectors).sum(-1) for vectors in (flow + back, np.stack([flow, back], -1).reshape(*flow.shape[:2], 4))
    )
    match = np.abs(here.astype(np.float32) - warp(there, flow, sharp=False)).mean(-1) <= TOLERANCE
    where = ends(flow)
    inside = ((where >= -0.5) & (where <= np.array(flow.shape[1::-1]) - 0.5)).all(-1)
    trusted = (gap <= 0.01 * length + 1.0) & match & inside
    cut = bool(trusted.mean() < CUT[0] and match.mean() < CUT[1])
    return flow, opencv().GaussianBlur(trusted.astype(np.float32), (0, 0), 1.0), cut
