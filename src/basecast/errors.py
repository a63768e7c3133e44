"""What basecast says when it cannot go on: one class per exit code, a sentence per instance."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 record``, ``2,000 records``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


class BasecastError(Exception):
    """Anything the person at the keyboard can mend. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InputError(BasecastError):
    """A file, a record or a value is not what it must be; the message names it and the remedy."""


class UsageError(BasecastError):
    """The command's own words are off."""

    exit_code = 2


class OutOfMemoryError(BasecastError):
    """Not even one window fits the device."""

    exit_code = 137


class InterruptedRunError(KeyboardInterrupt):
    """A signal ended the run; the same command goes on where it stood. No ``except Exception`` may swallow it."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
