"""Plan and parts: work is cut into shards of a plan, a finished shard is a part, a killed run goes on from them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from basecast.errors import InputError, UsageError
from basecast.files import whole_file


class Parts:
    """The finished shards of one plan in a folder that one process at a time holds.

    Args:
        folder: where the parts lie, made if need be.
        plan: everything that decides the rows: settings and digests of inputs. Plain JSON values.
        restart: discard the parts that are there.

    Raises:
        UsageError: the parts there are of another plan (the message names the first difference), or another process
            holds the folder.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], *, restart: bool = False) -> None:
        self.folder = folder
        text = json.dumps(plan, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        folder.mkdir(exist_ok=True)
        self._lock = (folder / "lock").open("a")
        try:
            self._hold(json.loads(text), restart)
        except BaseException:
            self._lock.close()
            raise

    def _hold(self, plan: dict[str, Any], restart: bool) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is writing {self.folder}: wait for it, or choose another output"
            ) from None
        header = self.folder / "plan.json"
        if restart:
            for part in self.folder.glob("part-*.json"):
                part.unlink()
            header.unlink(missing_ok=True)
        if not header.exists():
            with whole_file(header) as partial:
                partial.write_text(json.dumps(plan))
            return
        try:
            before = dict(json.loads(header.read_text()))
        except (ValueError, TypeError):
            raise UsageError(f"{header} is damaged: begin anew with --restart") from None
        if changed := sorted(key for key in before.keys() | plan.keys() if before.get(key) != plan.get(key)):
            key = changed[0]
            raise UsageError(
                f"{self.folder} holds a part of another run: {key} was {before.get(key)!r} and is {plan.get(key)!r} "
                "now; give the same command to go on, or --restart to begin anew"
            )

    def close(self) -> None:
        """Let go of the folder; what is done stays."""
        self._lock.close()

    def load(self, shard: int) -> list[Any] | None:
        """The rows of a finished shard, or None.

        Raises:
            InputError: the part is damaged or of another plan.
        """
        path = self._path(shard)
        if not path.exists():
            return None
        try:
            part = json.loads(path.read_text())
            if part["plan"] == self.digest and part["sha256"] == _sha256(part["rows"]):
                return list(part["rows"])
        except (ValueError, KeyError, TypeError):
            pass
        raise InputError(f"{path} is damaged or of another run: remove it and run again")

    def save(self, shard: int, rows: list[Any]) -> None:
        """Keep a finished shard; the part appears whole."""
        with whole_file(self._path(shard)) as partial:
            partial.write_text(json.dumps({"plan": self.digest, "sha256": _sha256(rows), "rows": rows}))

    def remove(self) -> None:
        """The output is there: the parts are not needed any more."""
        shutil.rmtree(self.folder)

    def _path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:06d}.json"


def _sha256(rows: list[Any]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
