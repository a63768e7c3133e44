"""Splice-site models: what they are known by."""

from __future__ import annotations

from collections.abc import Sequence

from basecast.errors import UsageError
from basecast.spec.model import LocalReach, ModelSpec, Output, Track

SPLICE = "splice"
"""The output that holds splice sites."""
CLASSES = ("neither", "acceptor", "donor")
"""What a base is: an acceptor is the first base of an exon after an intron, a donor the last before one."""
ACCEPTOR, DONOR = 1, 2
"""Their places in ``CLASSES``."""


def splice_output(classes: Sequence[str] = CLASSES) -> Output:
    """The output ``splice``: one of ``classes`` a base."""
    tracks = tuple(Track(name=name, assay="splice site", unit="probability") for name in classes)
    return Output(name=SPLICE, tracks=tracks, link="softmax")


def splice_columns(spec: ModelSpec) -> tuple[int, int]:
    """The tracks of ``acceptor`` and ``donor`` in the output ``splice``.

    Raises:
        UsageError: the model gives no splice sites base by base.
    """
    for output in spec.outputs:
        names = [track.name for track in output.tracks]
        if output.name == SPLICE and isinstance(spec.reach, LocalReach) and {"acceptor", "donor"} <= set(names):
            return names.index("acceptor"), names.index("donor")
    raise UsageError(f"model {spec.name} gives no splice sites base by base: take one that lists them in its outputs")
