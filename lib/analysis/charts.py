"""Charts: the chords of a track as musicians write them, by bar."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.analysis.chords import NO_CHORD, QUALITIES, ROOTS
from reprise.lib.text import PITCH_CLASSES

_SUFFIXES = dict(zip(QUALITIES, ("", "m", "7", "maj7", "m7"), strict=True))


def to_symbol(name: str) -> str:
    """Return the symbol of a chord as in lead sheets, e.g. ``B♭m7`` for ``Bb:min7``; ``N.C.`` for no chord."""
    if name == NO_CHORD:
        return "N.C."
    root, _, quality = name.partition(":")
    return PITCH_CLASSES[ROOTS.index(root)] + _SUFFIXES[quality]


def list_bars(names: Sequence[str], beats_start: ArrayLike, bars_start: ArrayLike) -> list[list[str]]:
    """Return the symbols of the chords in each bar, each once per time that it is played without a change.

    Beats before the first bar are left out.

    Parameters
    ----------
    names
        Names of the chords of n beats.
    beats_start, bars_start
        Shapes (n,) and (m,), in s, ascending.
    """
    beats, bars = np.asarray(beats_start, np.float64), np.asarray(bars_start, np.float64)
    if not len(beats) or not len(bars):
        return []
    bar = np.searchsorted(bars, beats + 1e-3, side="right") - 1  # a beat and its bar line are the same time
    pairs = [(int(number), to_symbol(name)) for number, name in zip(bar, names, strict=True) if number >= 0]
    found: list[list[str]] = [[] for _ in bars]
    for (number, symbol), _ in groupby(pairs):
        found[number].append(symbol)
    return found


def format_chart(bars: Sequence[Sequence[str]], per_line: int = 4) -> list[str]:
    """Return the lines of a chart: bars between ``|``, all of one width. A bar like the one before it is ``%``."""
    texts = ["%" if i and list(bar) == list(bars[i - 1]) else " ".join(bar) for i, bar in enumerate(bars)]
    width = max(map(len, texts), default=0)
    rows = [texts[first : first + per_line] for first in range(0, len(texts), per_line)]
    return [f"| {' | '.join(text.ljust(width) for text in row)} |" for row in rows]
