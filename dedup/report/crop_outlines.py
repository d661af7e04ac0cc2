"""Parts of pictures worth a frame: a cluster and one of its files in, corners out, in unit coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dedup.matching.kinds import MatchKind

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster, Member


def insets(cluster: Cluster, member: Member) -> list[np.ndarray]:
    """What is to be framed on a picture: on the keeper each crop of it, on what contains the keeper the keeper.

    Returns
    -------
    list of (4, 2) float, corners in unit coordinates of the picture; what lies outside it is cut off
    """
    if member is cluster.keeper:
        crops = (other for other in cluster.members if other.kind == MatchKind.CROP and other.place)
        return [outline(np.reshape(crop.place, (3, 3))) for crop in crops]
    if member.kind == MatchKind.CONTAINS and member.place and member.coverage < 1:
        return [outline(np.linalg.inv(np.reshape(member.place, (3, 3))))]
    return []


def outline(transform: np.ndarray) -> np.ndarray:
    """Where a homography (3, 3) brings the corners of the unit square, (4, 2), cut off at its edges."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) @ transform.T  # (4, 3)
    return np.clip(corners[:, :2] / corners[:, 2:], 0, 1)
