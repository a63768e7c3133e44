"""Plan and parts: work is cut into shards of a plan, a finished shard is a part, a killed run goes on from them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from basecast.errors import InputError, UsageError, counted
from basecast.files import whole_file
from basecast.spec.model import Frozen

_LISTED = 8


class Split(Frozen):
    """One process of several that share a plan: of every ``count`` shards it does the ``index``-th, from 1."""

    index: int = Field(ge=1)
    count: int = Field(ge=1)

    @classmethod
    def parse(cls, text: str) -> Split:
        """``I/N``.

        Raises:
            UsageError: it is not that, or I is not within 1 to N.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text!r} is not I/N with I from 1 to N, such as 3/40")
        return cls(index=int(found[1]), count=int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class RunSettings(Frozen):
    """How the shards of a plan are gone through; no value here changes a byte of the output."""

    restart: bool = Field(False, description="discard what an interrupted run has left")
    work_dir: Path | None = Field(None, description="folder of plan and parts; by default OUT.basecast")
    split: Split | None = Field(None, description="do only this share of the shards and leave their parts")
    cluster: str | None = Field(None, description="address of a Ray cluster that runs the shards")
    workers: int | None = Field(None, ge=1, description="with a cluster: how many hold the model")
    gpus_per_worker: float = Field(0, ge=0)

    @field_validator("split", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return Split.parse(value) if isinstance(value, str) else value

    def device(self, own: object) -> str:
        """The kind of device that the shards run on, where this process has ``own``."""
        own = str(own).split(":")[0]  # not which of several: shards may run on all of them
        return own if self.cluster is None else "cuda" if self.gpus_per_worker else "cpu"

    def engine_settings(self, device: str, memory: int | None) -> dict[str, Any]:
        """Device and memory of engines, settled here where workers are to agree."""
        if self.cluster is None or self.gpus_per_worker:
            return {}
        from basecast.inference.device import available_memory  # PyTorch, which coverage does without

        return {"device": "cpu" if device == "auto" else device, "memory": memory or available_memory() // 2}

    def folder(self, target: str | Path) -> Path:
        """Where plan and parts of ``target`` lie."""
        return self.work_dir or Path(f"{target}.basecast")


class Parts:
    """The finished shards of one plan, in a folder that one process holds, or the processes of one split together.

    Args:
        folder: where the parts lie, made if need be.
        plan: everything that decides what a shard gives: settings and digests of inputs. Plain JSON values.
        assembly: everything else that is needed to make the output of the parts. Of processes of one split it must be
            the same, but for ``command``, of which the first stays. Without a split the newest holds.
        chosen: what a machine found best and all others take on: with parts or a split there, ``chosen`` is what the
            first process found. It decides what a shard gives, as the plan does.
        restart: discard the parts that are there.
        split: which shards are this process's own.

    Raises:
        UsageError: the parts there are of another plan (the message names the first difference), or another process
            holds the folder.
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        assembly: Mapping[str, Any] | None = None,
        chosen: Mapping[str, Any] | None = None,
        *,
        restart: bool = False,
        split: Split | None = None,
    ) -> None:
        if restart and split:
            raise UsageError(f"--restart and --shard do not go together: remove {folder} before the shards are started")
        self.folder, self.split = folder, split
        self._locks: list[Any] = []
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._hold()
            given = json.loads(
                json.dumps({"plan": plan, "assembly": assembly or {}, "chosen": chosen or {}, "notes": {}})
            )
            if restart:
                self._clear()
            self._agree(given)
        except BaseException:
            self.close()
            raise

    @classmethod
    def existing(cls, folder: Path) -> Parts:
        """The parts in ``folder``, whatever their plan.

        Raises:
            InputError: there is no plan.
            UsageError: another process holds the folder.
        """
        if not (folder / "plan.json").is_file():
            raise InputError(f"{folder} holds no plan: 'basecast merge' goes with the output that --shard was run for")
        header = _read(folder / "plan.json")
        return cls(folder, header["plan"], header["assembly"], header["chosen"])

    def _hold(self) -> None:
        self._lock("lock", fcntl.LOCK_SH if self.split else fcntl.LOCK_EX)
        if self.split:
            self._lock(f"lock-{self.split.index}-of-{self.split.count}", fcntl.LOCK_EX)

    def _lock(self, name: str, kind: int) -> None:
        lock = (self.folder / name).open("a+")  # over NFS a shared lock takes a file that can be read
        self._locks.append(lock)
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            who = f"another process runs --shard {self.split} of" if "-of-" in name else "another process is writing"
            raise UsageError(f"{who} {self.folder}: wait for it, or choose another output") from None
        except OSError as error:
            other = "that all shards see, or do not use --shard" if self.split else "on another"
            raise UsageError(
                f"{self.folder} lies on a file system without locks ({error.strerror}): give a --work-dir {other}"
            ) from None

    def _agree(self, given: dict[str, Any]) -> None:
        """Write the header, or hold the one that is there against what is given."""
        header = self.folder / "plan.json"
        with (self.folder / "lock-plan").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            count = self.split.count if self.split else None
            if header.exists():
                before = _read(header)
                if self.split or any(self.folder.glob("part-*")):  # without a part nothing stands in the way
                    self._refuse(before["plan"], given["plan"])
                    given["chosen"], given["notes"] = before["chosen"], before["notes"]
                if self.split:
                    if before["count"] not in (None, count):
                        raise UsageError(
                            f"{self.folder} was begun with --shard I/{before['count']}, not I/{count}: give the same N"
                        )
                    kept = {"command": before["assembly"].get("command")}
                    self._refuse(before["assembly"] | kept, given["assembly"] | kept)
                    given["assembly"] = before["assembly"]
                count = count or before["count"]
            self.plan, self.assembly, self.count = given["plan"], given["assembly"], count
            self.chosen, self.notes = given["chosen"], given["notes"]
            decides = [self.plan, self.chosen]
            self.digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
            with whole_file(header) as partial:
                partial.write_text(json.dumps({**given, "count": count}))

    def note(self, name: str, value: Any) -> None:
        """Put a word beside the plan that decides nothing, such as what a device had no room for."""
        if self.notes.get(name) == value:
            return
        header = self.folder / "plan.json"
        with (self.folder / "lock-plan").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.notes = _read(header)["notes"] | {name: value}
            with whole_file(header) as partial:
                partial.write_text(json.dumps(_read(header) | {"notes": self.notes}))

    def _refuse(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        if before == now:
            return
        was, is_now = _leaves(before), _leaves(now)
        different = [key for key in was.keys() | is_now.keys() if was.get(key, ...) != is_now.get(key, ...)]
        # a value before the header line that quotes it
        key = min(different, key=lambda key: (key.rpartition(".")[2].isdigit(), key))
        begin = f"remove {self.folder}" if self.split else "--restart"
        raise UsageError(
            f"{self.folder} holds a part of another run: {key} was {was.get(key)!r} and is {is_now.get(key)!r} "
            f"now; give the same command to go on, or {begin} to begin anew"
        )

    def close(self) -> None:
        """Let go of the folder; what is done stays."""
        for lock in self._locks:
            lock.close()

    def beside(self, shard: int) -> Path:
        """Where what is known of a shard under way may be kept: this name and a suffix; it goes when the parts go."""
        return self._path(shard)

    def owns(self, shard: int) -> bool:
        """Whether the shard is this process's to do."""
        return self.split is None or shard % self.split.count == self.split.index - 1

    def has(self, shard: int) -> bool:
        """Whether the shard is done."""
        return self._path(shard).exists()

    def load(self, shard: int) -> bytes:
        """What a finished shard gave.

        Raises:
            InputError: the part is missing, damaged or of another plan.
        """
        path = self._path(shard)
        try:
            header, _, payload = path.read_bytes().partition(b"\n")
            said = json.loads(header)
            if said == self._said(shard, payload):
                return payload
        except FileNotFoundError:
            raise InputError(f"{path} is missing: run the same command again") from None
        except ValueError:
            pass
        raise InputError(f"{path} is damaged or of another run: remove it and run again")

    def save(self, shard: int, payload: bytes) -> None:
        """Keep a finished shard; the part appears whole."""
        with whole_file(self._path(shard)) as partial:
            partial.write_bytes(json.dumps(self._said(shard, payload)).encode() + b"\n" + payload)

    def _said(self, shard: int, payload: bytes) -> dict[str, Any]:
        return {"plan": self.digest, "shard": shard, "sha256": hashlib.sha256(payload).hexdigest()}

    def require(self, n_shards: int) -> None:
        """All of the plan's shards are done.

        Raises:
            InputError: some are not; the message says which.
        """
        missing = [shard for shard in range(n_shards) if not self.has(shard)]
        if not missing:
            return
        which = ", ".join(map(str, missing[:_LISTED])) + (", ..." if len(missing) > _LISTED else "")
        again = "run the same command again"
        if self.count:
            shares = sorted({shard % self.count + 1 for shard in missing})
            names = ", ".join(f"{i}/{self.count}" for i in shares[:_LISTED]) + (", ..." * (len(shares) > _LISTED))
            again = f"run --shard {names} (again)"
        raise InputError(f"{self.folder} lacks {counted(len(missing), 'part')} of {n_shards} ({which}): {again}")

    def remove(self) -> None:
        """The output is there: the parts are not needed any more."""
        self._clear()
        self._unlink(r"lock(-plan|-\d+-of-\d+)?")
        self.close()  # before the folder goes: NFS keeps a file that is open
        if self.folder.suffix == ".basecast":
            with contextlib.suppress(OSError):  # it holds something else
                self.folder.rmdir()

    def _clear(self) -> None:
        self._unlink(
            r"part-\d{6,}(\.checkpoint|\.metrics\.jsonl)?|\.(part-\d{6,}(\.checkpoint)?|plan\.json)\.\w+\.partial"
        )
        self._unlink(r"plan\.json")  # last: parts without a plan would be taken for those of the next

    def _unlink(self, pattern: str) -> None:
        """Remove what is ours: a --work-dir may hold other files."""
        for path in self.folder.iterdir():
            if re.fullmatch(pattern, path.name):
                path.unlink()

    def _path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:06d}"


def _read(header: Path) -> dict[str, Any]:
    try:
        said = json.loads(header.read_text())
        return {name: said[name] for name in ("plan", "assembly", "chosen", "notes", "count")}
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f"{header} is damaged or not of basecast as it is now: give another --work-dir, or --restart to remove it "
            "and begin anew"
        ) from None


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Single values, and lists of numbers, by their dotted names."""
    inner: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        inner = enumerate(value)
    found = {at: leaf for key, x in inner for at, leaf in _leaves(x, f"{name}.{key}" if name else str(key)).items()}
    return found or ({name: value} if name else {})
