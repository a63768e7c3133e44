"""How tracks become examples."""

from __future__ import annotations

from pydantic import Field

from basecast.data.signal_targets import Assay
from basecast.errors import UsageError
from basecast.spec.model import Frozen


class SignalSettings(Frozen):
    """How tracks become examples."""

    resolution: int = Field(128, ge=1, description="bases of a bin")
    window: int = Field(32_768, ge=1, description="bases of a window that have targets")
    flank: int = Field(16_384, ge=0, description="bases kept on either side of what has targets")
    piece: int = Field(524_288, ge=1, description="bases that go to a split together, about")
    contigs: tuple[str, ...] = Field((), description="those used; empty: all")
    test_contigs: tuple[str, ...] = ()
    validation_contigs: tuple[str, ...] = ()
    validation_share: float = Field(0.1, ge=0, lt=1, description="of the bases that no contig list places")
    test_share: float = Field(0.1, ge=0, lt=1)
    folds: int | None = Field(None, ge=3)
    test_fold: int = Field(0, ge=0)
    validation_fold: int = Field(1, ge=0)
    max_unmappable: float = Field(0.5, ge=0, le=1, description="share of a window from which on it is left out")
    umap_clip: float | None = Field(None, ge=0, le=1, description="quantile at which unmappable bins are cut")
    summit: bool = Field(False, description="centre on the summits of narrowPeak, not on the middle of a peak")
    jitter: int = Field(0, ge=0, description="bases by which windows of train are moved off their peak, at most")
    negatives: float = Field(1.0, ge=0, description="background windows for each peak")
    assay: Assay | None = None
    scaled_last: bool = Field(False, description="the transform of Borzoi's published tables")
    seed: int = 42
    species: str = ""
    genome_build: str = ""
    overwrite: bool = False

    def check(self) -> None:
        """Stop where settings do not go together.

        Raises:
            UsageError: they do not.
        """
        if self.window % self.resolution:
            raise UsageError(
                f"a window of {self.window:,} is no whole number of bins of {self.resolution}: give --window "
                f"{max(round(self.window / self.resolution), 1) * self.resolution}"
            )
        if self.folds and (self.test_contigs or self.validation_contigs):
            raise UsageError("--folds draws what is tested: leave --test-contigs and --validation-contigs out")
        if self.folds and (max(self.test_fold, self.validation_fold) >= self.folds):
            raise UsageError(f"folds are numbered from 0: with --folds {self.folds} the last is {self.folds - 1}")
        if self.folds and self.test_fold == self.validation_fold:
            raise UsageError(f"fold {self.test_fold} cannot be test and validation: give another --validation-fold")
        if self.validation_share + self.test_share >= 1:
            raise UsageError("validation and test take all there is: give smaller --validation-share and --test-share")
