"""``basecast demo``: everything once, with no input at all."""

from __future__ import annotations


def demo() -> int:
    """Simulate a genome, score its variants, show the strongest effects."""
    return 0
