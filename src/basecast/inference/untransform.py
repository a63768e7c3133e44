"""From what a model is taught to what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from basecast.spec import Output, TargetTransform


def untransformed(
    values: Float[np.ndarray, "... tracks"], output: Output, chosen: Sequence[int] | None = None
) -> Float[np.ndarray, "... tracks"]:
    """Values of an output with what was done to its targets undone, track by track; of the same kind of number.

    Args:
        values: in model space, tracks last.
        chosen: which tracks of the output these are; all of them by default.

    Returns:
        The statistic of each bin, such as its sum over bases. Tracks without a transform are as they were.

    Raises:
        ValueError: there are more or fewer tracks.
    """
    tracks = output.tracks if chosen is None else [output.tracks[i] for i in chosen]
    if values.shape[-1:] != (len(tracks),):
        raise ValueError(f"values of {output.name} have {len(tracks)} tracks at the end, got shape {values.shape}")
    alike: dict[TargetTransform, list[int]] = {}
    for i, track in enumerate(tracks):
        if track.transform is not None:
            alike.setdefault(track.transform, []).append(i)
    found = values.copy()
    for transform, indices in alike.items():
        found[..., indices] = transform.invert(values[..., indices])
    return found
