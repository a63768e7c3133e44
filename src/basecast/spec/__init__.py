"""Models as data."""

from basecast.spec.model import (
    Architecture,
    Calibration,
    Condition,
    Input,
    LocalReach,
    Member,
    ModelSpec,
    Node,
    Output,
    Provenance,
    ReverseComplement,
    TargetTransform,
    Track,
    WindowReach,
)

__all__ = [
    "Architecture",
    "Calibration",
    "Condition",
    "Input",
    "LocalReach",
    "Member",
    "ModelSpec",
    "Node",
    "Output",
    "Provenance",
    "ReverseComplement",
    "TargetTransform",
    "Track",
    "WindowReach",
]
