"""Whether data, windows and a model go together."""

from __future__ import annotations

from basecast.data.store import Dataset
from basecast.errors import UsageError
from basecast.spec import LocalReach, ModelSpec, Output


def context_of(spec: ModelSpec) -> tuple[int, int]:
    """Bases before the label positions and after them that a model needs.

    Raises:
        UsageError: its heads differ in what they leave out at their ends.
    """
    crops = {output.crop * output.resolution for output in spec.outputs}
    if len(crops) > 1:
        raise UsageError(f"the heads of {spec.name} leave out different ends of a window: it cannot be trained here")
    reach, crop = spec.reach, crops.pop()
    left, right = (reach.left, reach.right) if isinstance(reach, LocalReach) else (reach.crop, reach.crop)
    return left + crop, right + crop


def require_window(spec: ModelSpec, window: int) -> None:
    """Stop where windows of so many label positions are none that a model can be run on.

    Raises:
        UsageError: they end within a bin, or the model takes windows of other lengths.
    """
    for output in spec.outputs:
        if window % output.resolution:
            below = window // output.resolution * output.resolution
            raise UsageError(
                f"{spec.name} gives bins of {output.resolution} bases, and --window {window} is no whole number of "
                f"them: give {below or output.resolution}"
            )
    reach = spec.reach
    if isinstance(reach, LocalReach):
        return
    length = window + sum(context_of(spec))
    if reach.lengths and length not in reach.lengths:
        fitting = ", ".join(f"{allowed - length + window:,}" for allowed in reach.lengths)
        raise UsageError(f"{spec.name} takes windows whose labels cover {fitting} bases, not {window:,}: see --window")
    if length % reach.multiple_of:
        raise UsageError(
            f"{spec.name} takes windows of a multiple of {reach.multiple_of:,} bases, and --window {window} makes "
            f"{length:,} of it with {length - window:,} around its labels"
        )


def require_fit(dataset: Dataset, spec: ModelSpec) -> None:
    """Stop where a dataset is not what a model takes and gives.

    Raises:
        UsageError: its outputs, their classes, tracks or bins, what is masked, or the context differ.
    """
    header = dataset.header
    held = {output.name: output for output in header.outputs}
    for output in spec.outputs:
        _require_output(str(dataset.path), held.get(output.name), output, spec.name)
    if header.mask != spec.mask:
        means = {"gene": "N outside the gene", "none": "the genome around it"}
        raise UsageError(
            f"{dataset.path} was made with {means[header.mask]}, and {spec.name} is to see {means[spec.mask]}: make it "
            "again with the other --context"
        )
    dataset.require_context(2 * max(context_of(spec)))


def _require_output(path: str, held: Output | None, output: Output, name: str) -> None:
    tracks = {track.name: track for track in held.tracks} if held else {}
    missing = [track.name for track in output.tracks if track.name not in tracks]
    if held is None or missing or (output.has_classes and list(tracks) != [t.name for t in output.tracks]):
        wanted = [track.name for track in output.tracks]
        raise UsageError(
            f"{path} holds {_few(list(tracks))}, and {name} gives {_few(wanted)} as {output.name!r}: they do not go "
            "together"
        )
    if held.resolution != output.resolution:
        raise UsageError(
            f"{path} has bins of {held.resolution} bases, and {name} gives bins of {output.resolution}: make the data "
            f"again with create-data --resolution {output.resolution}, or take another model"
        )
    for track in output.tracks:
        if track.transform != tracks[track.name].transform:
            raise UsageError(
                f"the values of {track.name} in {path} were made otherwise than {name} has them ({track.transform}): "
                "make the data again"
            )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none of it"
