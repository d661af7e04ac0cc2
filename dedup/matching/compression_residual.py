"""Grain: two pictures laid on each other in, whether all that one lacks is a grain that compression took, out.

Overlay, Frame  ->  bool
"""

from __future__ import annotations

import cv2
import numpy as np

from dedup.matching.motion import explained_by_motion
from dedup.matching.similarity import Overlay
from dedup.matching.warping import Frame, fine, outline

ALL_AGREE, CLEAR_DETAIL, STILL = 0.98, 0.84, 0.2  # blocks and fine detail that agree, and motion's share of the rest
SEEN = 1.0  # grey levels, standard deviation of the detail that must be there to agree
SPOT = 3.0  # times as far apart as elsewhere is a place where something else is shown
NO_MOVE = 0.006  # share of a side by which its corners may then lie beside the other's


def lost_grain(overlay: Overlay, frame: Frame) -> bool:
    """Whether two pictures agree, corner on corner, but for a faint grain that compression took, of grass or wood.

    In most blocks such a grain is all the detail there is, and weighs more than what anybody sees. What compression
    changes, it changes everywhere; a thing that moved, or came, stands out from that.
    """
    corners = outline(frame.transform)
    if np.abs(corners - np.round(corners)).max() > NO_MOVE:
        return False
    if overlay.agreement < ALL_AGREE or overlay.detail < CLEAR_DETAIL:
        return False
    details = (fine(image.astype(np.float32))[frame.mask] for image in (frame.base, frame.other))
    if min(each.std() for each in details) < SEEN:
        return False
    soft, other = (
        cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2)[frame.mask] for image in (frame.base, frame.other)
    )
    changes = np.abs(np.polyval(np.polyfit(soft, other, 1), soft) - other)
    return changes.max() <= SPOT * np.percentile(changes, 99) and explained_by_motion(frame) <= STILL
