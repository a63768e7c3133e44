"""One file by HTTP: it takes its name when it is whole and what it must be; till then what came waits for the rest."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

from basecast import __version__
from basecast.errors import BasecastError, InputError, UsageError
from basecast.files import digest_of

Progress = Callable[[int], None]
"""Called with the bytes that are there so far."""


class NoSuchFileError(InputError):
    """The server has no file of that name."""


TRIES = 4
"""How often in a row a server may fail to give another byte."""

_PAUSE = 1.0
_TIMEOUT = 30
_CHUNK = 1 << 18
_LONGEST_WAIT = 60
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSING = (408, 425, 429, 500, 502, 503, 504)


def is_offline() -> bool:
    """Whether ``BASECAST_OFFLINE`` forbids the network."""
    return os.environ.get("BASECAST_OFFLINE", "").lower() not in ("", "0", "no", "false")


def require_network(what: str) -> None:
    """Raises UsageError where ``BASECAST_OFFLINE`` forbids what needs the network."""
    if is_offline():
        raise UsageError(f"{what} needs the network, and BASECAST_OFFLINE is set: unset it, or get the files elsewhere")


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    token: str = "",
    longest: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Fetch ``url`` to ``target``, whose folder is there; what an earlier call left of it is gone on with.

    Args:
        sha256: what the file must be, in hex; empty: any file will do.
        token: sent to the host of ``url`` alone, never to another to which it redirects.
        longest: the most bytes that it may have.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        InputError: there is no such file, it is not what it must be, or the disk is full.
        UsageError: the network is forbidden.
        BasecastError: the server cannot be reached or breaks off again and again; what came is kept.
    """
    require_network(url)
    part = _Part(target, url)
    resumed, digest = part.size > 0, part.digest() if sha256 else ""
    if not digest or digest != sha256:
        _fill(part, url, token, known=bool(sha256), longest=longest, progress=progress)
        digest = part.digest()
    if sha256 and digest != sha256 and resumed:  # what lay here may have been of another file
        part.discard()
        _fill(part, url, token, known=True, longest=longest, progress=progress)
        digest = part.digest()
    if sha256 and digest != sha256:
        part.discard()
        raise InputError(
            f"{url} gives other bytes than its checksum says (sha256 {digest[:16]}..., not {sha256[:16]}...): they "
            "were not kept. Try again, and if it stays so, tell who publishes it"
        )
    part.finish()
    return digest


class _Part:
    """What is there of a file so far, and what the server called that version of it."""

    def __init__(self, target: Path, url: str) -> None:
        self.target, self.url = target, url
        self.path = target.with_name(f".{target.name}.part")
        self._memo = target.with_name(f".{target.name}.part.json")
        if self._remembered().get("url") != url:
            self.discard()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """A strong ETag or a date, for If-Range."""
        return self._remembered().get("version", "")

    def _remembered(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._memo.read_text()))
        return {}

    def begin(self, version: str) -> None:
        """An empty part of a version."""
        self.discard()
        with room_for(self.path):
            self.path.touch()
            self._memo.write_text(json.dumps({"url": self.url, "version": version}))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)

    def digest(self) -> str:
        """SHA-256 of what is there."""
        return digest_of(self.path) if self.path.exists() else ""

    def finish(self) -> None:
        with self.path.open("rb+") as handle, room_for(self.path):
            os.fsync(handle.fileno())
        with room_for(self.target):
            self.path.replace(self.target)
        self._memo.unlink(missing_ok=True)


def _fill(part: _Part, url: str, token: str, *, known: bool, longest: int | None, progress: Progress | None) -> None:
    """Ask for what is missing until nothing is."""
    failures = 0
    while True:
        before, pause = part.size, 0.0
        try:
            return _ask(part, url, token, known, longest, progress)
        except urllib.error.HTTPError as error:
            error.close()
            pause = _asked_pause(error.headers)
            if error.code == 416:  # there is nothing after what we have, so that was another file's
                part.discard()
            elif error.code not in _PASSING:
                raise _refused(url, error, token) from None
            problem: Exception = error
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError too
            problem = error
            if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                raise _unreachable(url, error, part) from None
        failures = 1 if part.size > before else failures + 1
        if failures >= TRIES:
            raise _unreachable(url, problem, part) from None
        time.sleep(max(pause, _PAUSE * 2 ** (failures - 1)))


def _asked_pause(headers: Message) -> float:
    """The seconds that a busy server asks for, up to a minute."""
    seconds = headers.get("Retry-After") or ""
    return float(min(int(seconds), _LONGEST_WAIT)) if re.fullmatch("[0-9]{1,9}", seconds) else 0.0


def _ask(part: _Part, url: str, token: str, known: bool, longest: int | None, progress: Progress | None) -> None:
    """One request: the whole file, or the rest of it if what we have is surely of the same version."""
    request = urllib.request.Request(url, headers={"User-Agent": f"basecast/{__version__}"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if part.size and (known or part.version):
        request.add_header("Range", f"bytes={part.size}-")
        if part.version:
            request.add_header("If-Range", part.version)
    with _OPENER.open(request, timeout=_TIMEOUT) as response:
        version, start = _version(response.headers), 0
        if response.status == 206:
            start = _start(response.headers)
            if start != part.size or version != part.version:
                part.discard()
                raise ConnectionError("the file changed while it was fetched")
        else:
            part.begin(version)
        end = None if response.length is None else start + response.length
        with room_for(part.path):
            handle = part.path.open("ab")
        with handle as out:
            size = start
            while size != end and (chunk := response.read1(_CHUNK)):
                with room_for(part.path):
                    out.write(chunk)
                    out.flush()
                size += len(chunk)
                if longest is not None and size > longest:
                    part.discard()
                    raise InputError(
                        f"{url} is longer than the {longest:,} bytes that it may have: it is something else"
                    )
                if progress:
                    progress(size)
        if end is not None and size < end:
            raise ConnectionError(f"the connection broke off after {size:,} of {end:,} bytes")


def _version(headers: Message) -> str:
    """A strong ETag, else the date: what If-Range takes."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _start(headers: Message) -> int:
    """Where the bytes of a partial answer begin: 5 of ``bytes 5-9/10``."""
    first = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


@contextlib.contextmanager
def room_for(path: Path) -> Iterator[None]:
    """An error of the disk, while ``path`` is written, as a sentence."""
    try:
        yield
    except OSError as error:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        free = shutil.disk_usage(there).free
        is_full = error.errno in _NO_ROOM
        said, remedy = (f"; {free / 1e6:,.0f} MB free", "make room, or ") if is_full else ("", "")
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}{said}): {remedy}set BASECAST_CACHE or --output to "
            f"{'another disk' if is_full else 'another folder'}, and give the same command to go on"
        ) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never from https to something that others on the way can read and change; the token stays with its server."""

    def redirect_request(self, request, response, code, message, headers, url):  # type: ignore[no-untyped-def]
        if not url.startswith(("https:", request.full_url.partition("//")[0])):
            raise InputError(f"{request.full_url} leads to {url}, which is not https: it is not followed")
        following = super().redirect_request(request, response, code, message, headers, url)
        token = request.unredirected_hdrs.get("Authorization")
        old, new = urllib.parse.urlsplit(request.full_url), urllib.parse.urlsplit(url)
        if following and token and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            following.add_unredirected_header("Authorization", token)
        return following


_OPENER = urllib.request.build_opener(_Redirects)


def _refused(url: str, error: urllib.error.HTTPError, token: str) -> InputError:
    if error.code in (401, 403):
        remedy = "your token may not read it" if token else "it needs a login (hf auth login, or HF_TOKEN)"
        page, is_hub, _ = url.partition("/resolve/")
        remedy += f"; where it has terms, accept them at {page}" if is_hub else ""
        return InputError(f"{url} is not given out (HTTP {error.code}): {remedy}")
    if error.code in (404, 410):
        return NoSuchFileError(f"there is no {url} (HTTP {error.code}): check the name and the revision")
    return InputError(f"{url} is refused (HTTP {error.code} {error.reason}): try later, or another source")


def _unreachable(url: str, problem: Exception, part: _Part) -> BasecastError:
    reason = getattr(problem, "reason", None) or problem
    kept = f"; {part.size:,} bytes are kept" if part.size else ""
    return BasecastError(
        f"{url} could not be fetched ({str(reason) or type(reason).__name__}){kept}: check the network and "
        "HTTPS_PROXY, then give the same command to go on"
    )
