"""The plan of a synthetic dataset: genre, clique, artist, key, tempo and analysis errors of each track.

The plan and the index of a track determine everything about the track.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float64Array, Int32Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES, INSTRUMENTS, PARTS, SHARE_CUMULATIVE, TEMPO_LOG, TEMPO_SPREAD
from reprise.lib.music.compose.random_draws import choose, draw_bits, draw_normal, draw_uniform

MAX_TRACKS = 26**5  # a track id encodes the track's index in five letters
BLOCK = 64  # number of tracks that are planned and cached together

# clique size -> number of cliques of this size in the SecondHandSongs train list (4,128 cliques, 12,960 tracks)
SHS_CLIQUE_SIZES = {
    2: 2419, 3: 761, 4: 352, 5: 203, 6: 117, 7: 83, 8: 59, 9: 34, 10: 28, 11: 11, 12: 20, 13: 12, 14: 10, 15: 4, 16: 2,
    18: 4, 19: 2, 20: 1, 21: 1, 22: 1, 26: 1, 37: 1, 43: 1, 47: 1,
}  # fmt: skip
CLIQUE_SHARE = 0.2  # default share of the tracks that are in cliques
TRACKS_PER_ARTIST = 12
NORMAL, SHORT, BEATLESS = 0, 1, 2
SHORT_SHARE = 7 / 282  # share of tracks with fewer than 75 beats, those without beats included; counted on real files
BEATLESS_SHARE = 1 / 282  # share of tracks without beats, also counted on real files
TWO_GENRES_SHARE = 0.27  # share of the labelled tracks that have two genres, as in tagtraum's CD1


@dataclass(frozen=True)
class Difficulty:
    """Differences between versions and their work, and noise of the analysis.

    A value is the share of versions, chords or notes that change, unless a comment says otherwise.
    """

    genre_changed: float = 0.5
    transposed: float = 0.8
    mode_flipped: float = 0.03
    tempo_spread: float = 0.14  # standard deviation of log(version tempo / work tempo) within a genre
    genre_tempo_pull: float = 0.4  # 0 to 1: how far a version in another genre moves towards that genre's tempo
    structure_edit: float = 0.4  # probability of each possible edit of the form
    chord_substituted: float = 0.16
    note_dropped: float = 0.14
    note_changed: float = 0.16
    note_moved: float = 0.2
    note_added: float = 0.1
    melody_lost: float = 0.12  # share of versions whose lead improvises instead of playing the melody
    chroma_noise: float = 1.0  # scale of the noise in the segments' chroma
    detuned: float = 0.15  # share of tracks that deviate by up to 45 cents from standard pitch


@dataclass(frozen=True)
class AnalysisErrors:
    """Error rates of the simulated analyser. A value is a share of the tracks, unless a comment says otherwise."""

    tempo_doubled: float = 0.08
    tempo_halved: float = 0.06
    key_wrong: float = 0.22
    mode_wrong: float = 0.12
    meter_wrong: float = 0.34
    off_beat: float = 0.06
    beats_lost: float = 0.15
    lost_share: float = 0.005  # share of beats dropped in a `beats_lost` track; half as many are inserted


@dataclass(frozen=True)
class SamplePlan:
    """Description of a synthetic dataset. It is cheap to create, pickle and hash.

    Parameters
    ----------
    n_tracks
        Number of tracks, at most 26⁵.
    seed
        Seed of all random numbers. With the same version of numpy, equal plans give equal bytes.
    n_cliques, n_covers
        Number of cliques, and total number of tracks in them, at least two per clique. The clique sizes are distributed
        as in the SecondHandSongs train list. By default a fifth of the tracks are in cliques. If only one of the two
        numbers is given, the other follows from the mean size in that list.
    n_listeners
        Number of listeners. By default it is a fifth of the number of tracks, but at least 40, and 0 without tracks.
    difficulty, errors
        Differences between versions and their work, and error rates of the simulated analyser.

    Raises
    ------
    ValueError
        A number is out of range, or the numbers contradict each other.
    """

    n_tracks: int
    seed: int = 0
    n_cliques: int | None = None
    n_covers: int | None = None
    n_listeners: int | None = None
    difficulty: Difficulty = Difficulty()
    errors: AnalysisErrors = AnalysisErrors()

    def __post_init__(self) -> None:
        if not 0 <= self.n_tracks <= MAX_TRACKS:
            raise ValueError(f"n_tracks is {self.n_tracks}: choose a number from 0 to {MAX_TRACKS}")
        mean_size = sum(k * n for k, n in SHS_CLIQUE_SIZES.items()) / sum(SHS_CLIQUE_SIZES.values())
        cliques, covers = self.n_cliques, self.n_covers
        if covers is None:
            covers = round(CLIQUE_SHARE * self.n_tracks if cliques is None else min(mean_size * cliques, self.n_tracks))
        if cliques is None:
            cliques = round(covers / mean_size)
        if cliques == 0 and self.n_covers is None:
            covers = 0
        if cliques < 0 or covers > self.n_tracks or covers < 2 * cliques or (cliques == 0 and covers):
            raise ValueError(
                f"the number of cliques is {cliques}: they cannot hold {covers} of {self.n_tracks} tracks; choose "
                f"at least 2 tracks for each clique and at most {self.n_tracks} in total, or 0 cliques without tracks"
            )
        object.__setattr__(self, "n_cliques", cliques)
        object.__setattr__(self, "n_covers", covers)
        if self.n_listeners is not None and self.n_listeners < 0:
            raise ValueError(f"n_listeners is {self.n_listeners}: choose 0 or more")
        if self.n_listeners is None:
            object.__setattr__(self, "n_listeners", max(40, self.n_tracks // 5) if self.n_tracks else 0)

    def track(self, index: int) -> "Track":
        """Return the plan of one track.

        Raises
        ------
        IndexError
            The index is not in the plan.
        """
        if not 0 <= index < self.n_tracks:
            raise IndexError(f"track {index} is not in the plan: it has {self.n_tracks} tracks, counted from 0")
        return _draw_block(self, index // BLOCK)[index % BLOCK]

    def tracks(self, index: Int64Array) -> "Tracks":
        """Return the plans of the tracks with these indices, as columns."""
        return _draw_tracks(self, index)


@dataclass(frozen=True, slots=True)
class Track:
    """Plan of one track.

    Genres are indices in GENRES, and instruments are indices in INSTRUMENTS. ``second_genre`` is -1 if the track has
    one genre.
    """

    index: int
    work: int  # number of the work; works of cliques come first, then works of tracks outside cliques
    clique: int  # -1 outside the cliques
    version: int  # number within the clique; 0 is the original, and every track outside the cliques
    work_genre: int
    genre: int
    second_genre: int
    artist: int
    year: int
    key: int
    mode: int  # 1 major, 0 minor
    work_key: int
    work_mode: int
    transposition: int  # semitones up from the original, 0..11
    tempo_bpm: float
    tempo_ratio: float  # tempo relative to the original's tempo
    meter: int  # beats per bar
    section_bars: int
    length_s: float  # planned length; the composition has about this length
    state: int  # NORMAL, SHORT or BEATLESS
    drums: int
    bass: int
    harmony: int
    lead: int
    drumless: bool
    melody_lost: bool
    tuning_cents: float
    work_bits: int
    version_bits: int
    tempo_factor: float  # reported tempo / true tempo
    key_error: int  # semitones
    mode_error: bool
    reported_meter: int
    off_beat: bool
    lost_share: float  # share of the beats that the analyser misses


@dataclass(frozen=True)
class Tracks:
    """Plans of many tracks as columns: each field of Track is an array of shape (n,)."""

    columns: dict[str, NDArray[Any]]

    def __getattr__(self, name: str) -> NDArray[Any]:
        try:
            columns: dict[str, NDArray[Any]] = self.__dict__["columns"]
            return columns[name]
        except KeyError:
            raise AttributeError(name) from None

    def __len__(self) -> int:
        return len(self.columns["index"])

    def rows(self) -> list[Track]:
        """Return the plans as a list of Track."""
        lists = [self.columns[name].tolist() for name in Track.__dataclass_fields__]
        return [Track(*values) for values in zip(*lists, strict=True)]


@dataclass(frozen=True)
class Layout:
    """Assignment of tracks to cliques and of artists to genres.

    ``slots`` is a random permutation of the tracks: track i has the slot ``slots[i]``. Clique c consists of the slots
    ``clique_starts[c]:clique_starts[c + 1]``. The artists of genre g are
    ``artist_starts[g]:artist_starts[g + 1]``.
    """

    slots: Int32Array
    clique_starts: Int64Array
    artist_starts: Int64Array  # shape (genres + 1,)


@lru_cache(maxsize=4)
def make_layout(plan: SamplePlan) -> Layout:
    """Draw the assignment of tracks to cliques and of artists to genres. Up to four results are cached."""
    rng = np.random.default_rng([plan.seed & (2**64 - 1), plan.n_tracks])
    sizes = _draw_clique_sizes(plan.n_cliques or 0, plan.n_covers or 0, rng)
    n_artists = max(1, plan.n_tracks // TRACKS_PER_ARTIST)
    artists = [max(3, round(genre.share * n_artists)) for genre in GENRES]
    return Layout(
        slots=rng.permutation(plan.n_tracks).astype(np.int32),
        clique_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        artist_starts=np.concatenate([[0], np.cumsum(artists)]).astype(np.int64),
    )


def _draw_clique_sizes(n_cliques: int, n_covers: int, rng: np.random.Generator) -> Int64Array:
    """Draw clique sizes of at least 2 that sum to n_covers, distributed as in the SecondHandSongs train list."""
    if n_cliques == 0:
        return np.zeros(0, dtype=np.int64)
    listed = np.repeat(list(SHS_CLIQUE_SIZES), list(SHS_CLIQUE_SIZES.values()))
    quantiles = listed[((np.arange(n_cliques) + 0.5) * len(listed) / n_cliques).astype(np.int64)]
    beyond_two = (quantiles - 2).astype(np.float64) + 1e-9
    exact = beyond_two * ((n_covers - 2 * n_cliques) / beyond_two.sum())
    sizes = np.floor(exact).astype(np.int64)
    missing = n_covers - 2 * n_cliques - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:missing]] += 1
    return 2 + rng.permutation(sizes)


@lru_cache(maxsize=8)
def _draw_block(plan: SamplePlan, block: int) -> list[Track]:
    return _draw_tracks(plan, np.arange(block * BLOCK, min((block + 1) * BLOCK, plan.n_tracks))).rows()


# a drawn second genre that equals the first is discarded, so a second genre is drawn with more than the target share
_SECOND_GENRE_DRAWN = TWO_GENRES_SHARE / (1 - sum(genre.share**2 for genre in GENRES))
_INSTRUMENT_SHARES: dict[str, Float64Array] = {
    part: np.cumsum(
        [[genre.instruments[p].count(i) / len(genre.instruments[p]) for i in INSTRUMENTS] for genre in GENRES], axis=1
    )
    for p, part in enumerate(PARTS)
}
_MINOR_SHARE = np.array([genre.minor_share for genre in GENRES])
_TRIPLE_SHARE = np.array([genre.triple_share for genre in GENRES])
_DRUMLESS_SHARE = np.array([genre.drumless_share for genre in GENRES])
_YEARS = np.array([genre.years for genre in GENRES])
# counts of the keys of real tracks, C first; D, G and A are frequent because they are easy on guitars
_KEY_COUNTS = np.array([30, 20, 34, 9, 17, 17, 20, 31, 14, 26, 17, 20])
_KEY_CUMULATIVE = np.cumsum(_KEY_COUNTS) / _KEY_COUNTS.sum()
# key errors of an analyser in semitones, most frequent first: fifths, relative keys, one semitone, and others
_KEY_ERRORS = np.array([7, 5, 9, 3, 1, 11, 4, 2])
_KEY_ERROR_CUMULATIVE = np.cumsum([0.28, 0.24, 0.14, 0.12, 0.07, 0.07, 0.04, 0.04])
_WRONG_METERS = np.array([3, 1, 5, 7])
_WRONG_METER_CUMULATIVE = np.cumsum([0.46, 0.31, 0.13, 0.1])


def _draw_works(seed: int, work: Int64Array) -> dict[str, NDArray[Any]]:
    genre = choose(SHARE_CUMULATIVE, draw_uniform(seed, "work genre", work))
    tempo_log = TEMPO_LOG[genre] + TEMPO_SPREAD[genre] * draw_normal(seed, "work tempo", work)
    return {
        "genre": genre,
        "key": choose(_KEY_CUMULATIVE, draw_uniform(seed, "work key", work)),
        "mode": (draw_uniform(seed, "work mode", work) >= _MINOR_SHARE[genre]).astype(np.int64),
        "tempo_log": np.clip(tempo_log, np.log(56), np.log(208)),
        "meter": np.where(draw_uniform(seed, "work meter", work) < _TRIPLE_SHARE[genre], 3, 4),
        "section_bars": np.where((genre == 0) & (draw_uniform(seed, "work bars", work) < 0.5), 12, 8),
        "length_z": draw_normal(seed, "work length", work),
        "bits": (draw_bits(seed, "work bits", work) >> np.uint64(1)).astype(np.int64),
    }


def _draw_tracks(plan: SamplePlan, index: Int64Array) -> Tracks:
    """Draw all columns of the tracks with these indices."""
    seed, difficulty = plan.seed, plan.difficulty
    layout = make_layout(plan)
    slot = layout.slots[index].astype(np.int64)
    n_cliques, n_covers = len(layout.clique_starts) - 1, int(layout.clique_starts[-1])
    in_clique = slot < n_covers
    clique = np.where(in_clique, np.searchsorted(layout.clique_starts, slot, side="right") - 1, -1)
    version = np.where(in_clique, slot - layout.clique_starts[clique], 0)
    work_id = np.where(in_clique, clique, n_cliques + slot - n_covers)
    work = _draw_works(seed, work_id)
    is_derived = version > 0  # a version other than the original

    def draw(stream: str) -> Float64Array:
        return draw_uniform(seed, stream, index)

    drawn = choose(SHARE_CUMULATIVE, draw("genre"))
    genre = np.where(is_derived & (draw("genre changed") < difficulty.genre_changed), drawn, work["genre"])
    second = choose(SHARE_CUMULATIVE, draw("second genre"))
    second = np.where((draw("two genres") < _SECOND_GENRE_DRAWN) & (second != genre), second, -1)

    transposition = 1 + (11 * draw("transposition")).astype(np.int64)
    transposition = np.where(is_derived & (draw("transposed") < difficulty.transposed), transposition, 0)
    mode = work["mode"] ^ (is_derived & (draw("mode flipped") < difficulty.mode_flipped))
    genre_log = TEMPO_LOG[genre] + TEMPO_SPREAD[genre] * draw_normal(seed, "genre tempo", index)
    tempo_pull = np.where(genre != work["genre"], difficulty.genre_tempo_pull, 0.0)
    tempo_log = (
        work["tempo_log"]
        + tempo_pull * (genre_log - work["tempo_log"])
        + difficulty.tempo_spread * draw_normal(seed, "tempo", index)
    )
    tempo_log = np.where(is_derived, np.clip(tempo_log, np.log(52), np.log(216)), work["tempo_log"])

    length_z = np.where(is_derived, 0.6 * work["length_z"] + 0.8 * draw_normal(seed, "length", index), work["length_z"])
    state = choose(np.array([BEATLESS_SHARE, SHORT_SHARE, 1.0]), draw("state"))
    short_s = np.where(state == 0, 2 + 28 * draw("short length") ** 2, 4 + 24 * draw("short length"))
    length_s = np.where(
        state < 2, short_s, np.clip(226 * np.exp(0.27 * length_z * (1 + 0.1 * length_z * length_z)), 55, 700)
    )

    first_artist = layout.artist_starts[genre]
    n_artists = layout.artist_starts[genre + 1] - first_artist
    rotation = (draw_bits(seed, "artist turn", work_id) >> np.uint64(40)).astype(np.int64)
    artist = first_artist + np.where(
        in_clique, (rotation + version) % n_artists, (n_artists * draw("artist") ** 1.5).astype(np.int64)
    )
    years = _YEARS[genre]
    first_year = _YEARS[work["genre"], 0]
    written = first_year + ((2009 - first_year) * draw_uniform(seed, "written", work_id) ** 0.4).astype(np.int64)
    recorded = written + ((2010 - written) * draw("recorded")).astype(np.int64)
    year = np.where(is_derived, np.clip(recorded, years[:, 0], 2010), written)

    def draw_instrument(part: str) -> Int64Array:
        instrument_genre = np.where((second >= 0) & (draw(part + " genre") < 0.35), second, genre)
        return choose(_INSTRUMENT_SHARES[part][instrument_genre], draw(part))

    errors = plan.errors
    tempo_error = choose(np.cumsum([errors.tempo_doubled, errors.tempo_halved, 1.0]), draw("tempo error"))
    factor = np.array([2.0, 0.5, 1.0])[tempo_error]
    factor = np.where((np.exp(tempo_log) * factor > 235) | (np.exp(tempo_log) * factor < 40), 1.0, factor)
    key_error = _KEY_ERRORS[choose(_KEY_ERROR_CUMULATIVE, draw("key error"))]
    wrong_meter = _WRONG_METERS[choose(_WRONG_METER_CUMULATIVE, draw("meter heard"))]
    columns: dict[str, NDArray[Any]] = {
        "index": index,
        "work": work_id,
        "clique": clique,
        "version": version,
        "work_genre": work["genre"],
        "genre": genre,
        "second_genre": second,
        "artist": artist,
        "year": year,
        "key": (work["key"] + transposition) % 12,
        "mode": mode,
        "work_key": work["key"],
        "work_mode": work["mode"],
        "transposition": transposition,
        "tempo_bpm": np.exp(tempo_log),
        "tempo_ratio": np.exp(tempo_log - work["tempo_log"]),
        "meter": work["meter"],
        "section_bars": work["section_bars"],
        "length_s": length_s,
        "state": np.array([BEATLESS, SHORT, NORMAL])[state],
        **{part: draw_instrument(part) for part in PARTS},
        "drumless": draw("drumless") < _DRUMLESS_SHARE[genre],
        "melody_lost": is_derived & (draw("melody lost") < difficulty.melody_lost),
        "tuning_cents": np.where(
            draw("detuned") < difficulty.detuned, 90 * draw("tuning") - 45, 5 * draw_normal(seed, "tuning", index)
        ),
        "work_bits": work["bits"],
        "version_bits": (draw_bits(seed, "version bits", index) >> np.uint64(1)).astype(np.int64),
        "tempo_factor": factor,
        "key_error": np.where(draw("key wrong") < errors.key_wrong, key_error, 0),
        "mode_error": draw("mode wrong") < errors.mode_wrong,
        "reported_meter": np.where(draw("meter wrong") < errors.meter_wrong, wrong_meter, work["meter"]),
        "off_beat": draw("off beat") < errors.off_beat,
        "lost_share": np.where(draw("beats lost") < errors.beats_lost, errors.lost_share, 0.0),
    }
    return Tracks(columns)
