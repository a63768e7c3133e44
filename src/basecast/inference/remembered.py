"""Values of windows that were run, kept while there is room: the oldest go first."""

from __future__ import annotations

from collections import OrderedDict

from basecast.inference.ensemble import Values


class Remembered:
    """Values by the key of their window, up to ``most`` bytes, of which the newest are always kept."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._values: OrderedDict[bytes, Values] = OrderedDict()

    def get(self, key: bytes) -> Values | None:
        """The values, which count as used now; None if they are not here."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: bytes, values: Values) -> None:
        """Keep values of a key that is not here."""
        self._values[key] = values
        self._bytes += _size(values)
        while self._bytes > self._most and len(self._values) > 1:
            self._bytes -= _size(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()
        self._bytes = 0


def _size(values: Values) -> int:
    return sum(array.nbytes for array in values.values())
