"""BCF, which htslib alone reads and writes: as lines of a VCF, and made of such lines."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pysam
import pysam.bcftools
from pysam.utils import SamtoolsError

from basecast.errors import InputError
from basecast.genome.vcf_header import declared, text

_DUMMY = b',Description="Not declared in the input"'
_MISSING = re.compile(r"[=,]\.(?=[,;]|$)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)|\.", re.IGNORECASE)


def lines(chunks: Iterable[bytes]) -> Generator[bytes]:
    """A BCF's bytes as the lines of a VCF, without newlines.

    Raises:
        OSError, EOFError: what the chunks hold is no whole BCF.
    """
    with _piped(chunks) as source:
        yield from str(source.header).encode().splitlines()
        while True:
            with quiet_htslib():
                record = next(source, None)
            if record is None:
                return
            yield str(record).rstrip("\n").encode()


class BcfSink:
    """Takes lines of a VCF and is a BCF once closed.

    A BCF's header must declare all that its records use, and comes first: the lines wait in a compressed scratch file
    beside the target until all are known, and what the header leaves out is declared as text, as bcftools does it.
    """

    def __init__(self, target: Path, header: Sequence[bytes], name: str) -> None:
        """``name`` is the input's, for messages; ``header`` has the #CHROM line last."""
        self._target, self._name = target, name
        self._header = [line.rstrip(b"\r") for line in header]
        if not self._header[0].startswith(b"##fileformat="):
            self._header.insert(0, b"##fileformat=VCFv4.2")
        self._undeclared = _Undeclared(header)
        self._scratch = self._scratch_file()
        self._text = bgzip_writer(self._scratch.name, level=1)

    def write(self, whole_lines: bytes) -> None:
        for line in whole_lines.split(b"\n")[:-1]:
            self._undeclared.note(line)
        self._text.write(whole_lines)

    def discard(self) -> None:
        """Leave nothing of the scratch file; the target is not touched."""
        for file in (self._text, self._scratch):
            with contextlib.suppress(OSError):
                file.close()

    def close(self) -> None:
        """Write the BCF.

        Raises:
            InputError: a record, which the message names, cannot be put in BCF.
            OSError: the disk is full.
        """
        self._text.close()
        with self._scratch_file() as whole:
            *start, columns = self._header
            header = b"".join(line + b"\n" for line in (*start, *self._undeclared.declarations(), columns))
            with bgzip_writer(whole.name, level=1) as start_of_whole:
                start_of_whole.write(header)
            whole.seek(0, os.SEEK_END)
            shutil.copyfileobj(self._scratch, whole)
            whole.flush()
            with quiet_htslib():
                self._check(whole.name)
                try:  # not VariantFile.write, which takes INFO/END away or puts it in as it thinks right
                    pysam.bcftools.view("--no-version", "-Ob", "-o", str(self._target), whole.name, catch_stdout=False)
                except SamtoolsError as error:  # the records are good, so it is the disk
                    raise OSError(str(error)) from error
        self._scratch.close()

    def _scratch_file(self) -> IO[bytes]:
        return tempfile.NamedTemporaryFile(dir=self._target.parent, prefix=f"{self._target.name}.")

    def _check(self, whole: str) -> None:
        """Refuse what htslib refuses without a place and alters without a word."""
        try:
            source = pysam.VariantFile(whole)
        except ValueError as error:  # pysam's word for a header it cannot read
            raise self._refusal("htslib cannot read its header") from error
        self._scratch.seek(0)
        with source, gzip.GzipFile(fileobj=self._scratch) as originals:
            for number, original in enumerate(originals, 1):
                fields = text(original.rstrip(b"\r\n")).split("\t")
                place = f"record {number} ({fields[0]}:{fields[1]})"
                try:
                    encoded = str(next(source)).rstrip("\n").split("\t")
                except (OSError, ValueError, StopIteration) as error:
                    raise self._refusal(f"{place} is no valid VCF line") from error
                if lost := _lost(fields, encoded):
                    raise self._refusal(f"{place} would lose {lost}")

    def _refusal(self, problem: str) -> InputError:
        return InputError(
            f"{self._name} cannot become BCF: {problem}: mend it, or write .vcf.gz, which keeps all lines"
        )


class _Undeclared:
    """What records use and the header does not declare."""

    def __init__(self, header: Sequence[bytes]) -> None:
        self._known = {
            section: {*missing, *(name.encode() for name in declared(header, section))}
            for section, missing in (
                ("contig", ()),
                ("FILTER", (b".", b"PASS", b"")),
                ("INFO", (b".", b"")),
                ("FORMAT", (b".",)),
            )
        }
        self._new: dict[tuple[str, bytes], bytes] = {}

    def note(self, line: bytes) -> None:
        fields = line.rstrip(b"\r").split(b"\t", 9)
        self._note("contig", fields[0], b"")
        for name in fields[6].split(b";"):
            self._note("FILTER", name, _DUMMY)
        for entry in fields[7].split(b";"):
            name, is_valued, _ = entry.partition(b"=")
            self._note("INFO", name, (b",Number=1,Type=String" if is_valued else b",Number=0,Type=Flag") + _DUMMY)
        for name in fields[8].split(b":") if len(fields) > 8 else ():
            self._note("FORMAT", name, b",Number=1,Type=String" + _DUMMY)

    def _note(self, section: str, name: bytes, kind: bytes) -> None:
        if name not in self._known[section]:
            # max: a key seen bare and with a value is a String
            self._new[section, name] = max(self._new.get((section, name), b""), kind)

    def declarations(self) -> Iterator[bytes]:
        for (section, name), kind in self._new.items():
            yield b"##" + section.encode() + b"=<ID=" + name + kind + b">"


def bgzip_writer(path: str, level: int) -> Any:
    """A bgzip file to write bytes to."""
    return pysam.BGZFile(path, f"wb{level}", None)  # type: ignore[arg-type]  # its mode takes a level as fopen's


def _lost(before: list[str], after: list[str]) -> str | None:
    """What a BCF has no room for: values that are not of their type, columns beyond the header's, far positions."""
    if len(before) != len(after):
        return "its last columns, which the header does not name"
    if int(before[1]) >= 1 << 31:
        return "POS, which is beyond 2^31"
    if not _NUMBER.fullmatch(before[5]):
        return f"QUAL, as {before[5]!r} is no number"
    if not before[6]:
        return "FILTER, which is empty"
    if len(_MISSING.findall(after[7])) > len(_MISSING.findall(before[7])):
        return "a value in INFO that is not of the type its header says"
    return None


@contextlib.contextmanager
def quiet_htslib() -> Iterator[None]:
    """htslib writes to stderr by itself; what it has to say, our exceptions say."""
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


@contextlib.contextmanager
def _piped(chunks: Iterable[bytes]) -> Iterator[Any]:
    """A ``VariantFile`` of these bytes, through a pipe that a thread fills, because htslib opens nothing but files.

    Raises:
        EOFError: htslib cannot read the header.
    """
    reading, writing = os.pipe()

    def fill() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as end:
            for chunk in chunks:
                end.write(chunk)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        with quiet_htslib():
            source = pysam.VariantFile(reading)
    except ValueError as error:  # pysam's word for a bad header
        raise EOFError from error
    else:
        try:
            yield source
        finally:
            with contextlib.suppress(OSError, TypeError):  # after damage, pysam wants a name that a pipe has not
                source.close()
    finally:
        os.close(reading)
        thread.join(timeout=1)  # a standard input that stalls must not hold us
