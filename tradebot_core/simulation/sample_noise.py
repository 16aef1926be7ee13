"""Noise that is the same on every machine.

Only raw generator output, integer sums and one division are used, and the code that consumes it keeps to + - * / and sqrt in
plain Python: these are exact or correctly rounded everywhere, while exp, log and vectorised sums may differ in the last bit from
one processor to the next, and with them a price at the edge of a cent.
"""

import numpy as np

_HALVES = 12  # the sum of twelve uniform numbers has variance 1
_WORDS = 3  # 64-bit words hold twelve 16-bit numbers
_STEPS = 65536


def normals(seed: int, stream: tuple[int, ...], size: int) -> list[float]:
    """`size` nearly normal numbers (mean 0, variance 1, within six) of an independent stream of the seed."""
    words = np.random.PCG64([seed, *stream]).random_raw(_WORDS * size)
    sums = words.view(np.uint16).reshape(size, _HALVES).sum(axis=1, dtype=np.int64)
    return [(total - _HALVES * (_STEPS - 1) / 2) / _STEPS for total in sums.tolist()]


def integers(seed: int, stream: tuple[int, ...], size: int) -> list[int]:
    """`size` whole numbers below 2**32 of an independent stream of the seed."""
    return [word >> 32 for word in np.random.PCG64([seed, *stream]).random_raw(size).tolist()]
