"""What is counted of which alignments, and what is done to the counts; presets for the usual assays."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Assay = Literal["cage", "dnase", "atac", "chip", "rna", "histone"]


class CoverageSettings(BaseModel):
    """How alignments become coverage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Literal["ends", "centres", "reads"] = "ends"
    """What a read counts as: its 5' end, the centre of its fragment, or 1 at each of its aligned bases."""
    strands: Literal["both", "forward", "reverse"] = "both"
    """One track, or two: read 1 has the strand of the molecule (forward) or the other one (reverse)."""
    mates: Literal["both", "first"] = "both"
    """Which reads of a pair have events; where the event is the centre, a proper pair has one in any case."""
    shift_forward: int = 0
    """Bases to the right that the 5' ends of forward reads are moved."""
    shift_reverse: int = 0
    fragment_length: int | None = Field(default=None, ge=1)
    """For the centres of reads that are no proper pair; None: learnt from the data."""
    mapq: int = Field(default=0, ge=0, le=254)
    """Alignments of less are left out; 255 says that the quality is not known, and stays."""
    keep_duplicates: bool = False
    """Whether alignments that are flagged as copies count."""
    max_places: int = Field(default=10, ge=1, le=200)
    """Reads with more places in the genome are left out."""
    sigma: float = Field(default=32, gt=0, le=1000)
    """Standard deviation, in bases, of the Gaussian in which coverage around its places tells where a read belongs."""
    iterations: int = Field(default=100, ge=0)
    """At most so many rounds of that; 0 shares a read among its places evenly."""
    gc: bool = False
    """Whether the effect of the GC content of fragments is taken out."""
    gc_sigma: float = Field(default=64, gt=0, le=1000)
    """Standard deviation of the Gaussian window of GC content, bases."""
    clip: int | None = Field(default=None, ge=1)
    """A position's coverage is cut to what its surroundings make likely, at most to this."""
    smooth: float = Field(default=0, ge=0, le=1000)
    """Standard deviation of the Gaussian that the coverage that is written is smoothed with, bases."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.gc and self.event == "reads":
            raise ValueError("the effect of GC is that of fragments: it is taken out of ends or centres, not of reads")
        if self.clip and self.event == "reads":
            raise ValueError("copies are clipped where ends or centres are counted, not reads")
        return self


def preset(assay: Assay | None) -> CoverageSettings:
    """Settings for an assay; smoothing, clipping and windows are those that Basenji's author gives his users."""
    match assay:
        case "cage":
            return CoverageSettings(strands="forward", mates="first", keep_duplicates=True, sigma=4, smooth=2)
        case "dnase":
            return CoverageSettings(gc=True, smooth=8)
        case "atac":
            return CoverageSettings(shift_forward=4, shift_reverse=-5, gc=True, smooth=8)
        case "chip":
            return CoverageSettings(event="centres", gc=True, smooth=8)
        case "histone":
            return CoverageSettings(event="centres", gc=True, clip=8, smooth=8)
        case "rna":
            return CoverageSettings(event="reads", keep_duplicates=True)
        case None:
            return CoverageSettings()
