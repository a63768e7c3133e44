"""``basecast`` with shards of five records, run as a script; ``ACCIDENT=2:kill`` lets shard 2 meet with one.

``kill``: the process kills itself as it begins the shard. ``stall``: it says so on standard output and goes on only
when it is asked to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from basecast.cli.main import main
from basecast.effects import cut
from basecast.effects.scorer import Scorer
from basecast.genome.variants import VariantRecord
from basecast.interruption import is_asked_to_stop

SHARD = 5


def script(*arguments: object) -> list[str]:
    """This as a command."""
    return [sys.executable, str(Path(__file__)), *map(str, arguments)]


def shard_of(records: Sequence[VariantRecord]) -> int:
    return (records[0].number - 1) // SHARD


def _with_accident(scorer: Scorer, records: Sequence[VariantRecord]) -> bytes:
    at, _, what = os.environ.get("ACCIDENT", "").partition(":")
    if str(shard_of(records)) == at:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        print("stalled", flush=True)
        while not is_asked_to_stop():
            time.sleep(0.01)
    return _payload(scorer, records)


_payload = Scorer.payload

if __name__ == "__main__":
    cut.SHARD, Scorer.payload = SHARD, _with_accident  # type: ignore[method-assign]
    sys.exit(main())
