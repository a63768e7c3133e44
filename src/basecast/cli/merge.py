"""``basecast merge``: the parts of all shards into one output."""

from __future__ import annotations

import contextlib
from pathlib import Path

from basecast.cli.console import Console
from basecast.cli.options import Messages


def merge(output: str, /, *, work_dir: Path | None = None, log_format: Messages = "text") -> int:
    """Join the parts that `--shard 1/N` to `--shard N/N` have left.

    The output is byte for byte that of one process. Shards that are missing are named. No model is run.

    Example: basecast merge scored.vcf.gz

    Parameters
    ----------
    output:
        The output that the shards were run for.
    work_dir:
        The folder that they were given, if any.
    log_format:
        Messages on standard error as text or as JSON lines.
    """
    from basecast import __version__
    from basecast.cli import coverage, predict, saturate, variant
    from basecast.coverage.build import merge_coverage
    from basecast.effects.annotate import merge_variants
    from basecast.effects.saturate import merge_saturation
    from basecast.errors import InputError, UsageError
    from basecast.inference.shards import Parts, RunSettings
    from basecast.prediction.predict import merge_predictions

    console = Console(log_format)
    folder = RunSettings(work_dir=work_dir).folder(output)
    if not (folder / "plan.json").exists() and Path(f"{output}.stats.json").exists():
        console.say(f"{output} is whole already: there is nothing to merge")
        return 0
    with contextlib.closing(Parts.existing(folder)) as parts:
        verb, version = parts.assembly.get("verb"), parts.plan.get("basecast")
        if version != __version__:
            raise UsageError(f"{parts.folder} is of basecast {version}, this is {__version__}: merge with that one")
        if verb == "variant":
            return variant.report(console, merge_variants(parts, output))
        if verb == "saturate":
            return saturate.report(console, merge_saturation(parts, output))
        if verb == "coverage":
            return coverage.report(console, merge_coverage(parts, output))
        if verb == "predict":
            return predict.report(console, merge_predictions(parts, output))
    raise InputError(f"{parts.folder} is of a verb {verb!r} that this version of basecast does not know")
