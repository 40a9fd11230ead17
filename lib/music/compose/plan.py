"""Who plays what: every track's genre, clique, artist, key, tempo and planted analysis errors, from its index alone."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float64Array, Int32Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES, INSTRUMENTS, PARTS, SHARE_CUMULATIVE, TEMPO_LOG, TEMPO_SPREAD
from reprise.lib.music.compose.random_draws import choose, normal, scramble, uniform

MAX_TRACKS = 26**5  # five letters tell track ids apart
BLOCK = 64

# versions a clique of the SecondHandSongs train list has -> number of such cliques (4,128 cliques, 12,960 tracks)
SHS_CLIQUE_SIZES = {
    2: 2419, 3: 761, 4: 352, 5: 203, 6: 117, 7: 83, 8: 59, 9: 34, 10: 28, 11: 11, 12: 20, 13: 12, 14: 10, 15: 4, 16: 2,
    18: 4, 19: 2, 20: 1, 21: 1, 22: 1, 26: 1, 37: 1, 43: 1, 47: 1,
}  # fmt: skip
CLIQUE_SHARE = 0.2  # of the tracks, unless a plan says otherwise
TRACKS_PER_ARTIST = 12
NORMAL, SHORT, BEATLESS = 0, 1, 2
SHORT_SHARE = 7 / 282  # fewer than 75 beats; counted on real files, as is the next
BEATLESS_SHARE = 1 / 282
TWO_GENRES = 0.27  # of the labelled tracks, as in tagtraum's CD1


@dataclass(frozen=True)
class Difficulty:
    """How far a version strays from its work, and how much the analysis hides: shares and spreads, all in one place."""

    genre_changed: float = 0.5
    transposed: float = 0.8
    mode_flipped: float = 0.03
    tempo_spread: float = 0.14  # of the logarithm of version / work
    genre_tempo_pull: float = 0.4  # how far a version in another genre moves to that genre's tempo
    structure_edit: float = 0.4  # each of the edits of a form
    chord_substituted: float = 0.16
    note_dropped: float = 0.14
    note_changed: float = 0.16
    note_moved: float = 0.2
    note_added: float = 0.1
    melody_lost: float = 0.12  # versions whose lead improvises instead
    chroma_noise: float = 1.0  # scale of everything that blurs the segments' pitches
    detuned: float = 0.15  # recordings between two keys


@dataclass(frozen=True)
class AnalysisErrors:
    """How often the analyser is wrong: shares of tracks, except where it says otherwise."""

    tempo_doubled: float = 0.08
    tempo_halved: float = 0.06
    key_wrong: float = 0.22
    mode_wrong: float = 0.12
    meter_wrong: float = 0.34
    off_beat: float = 0.06
    beats_lost: float = 0.15
    lost_share: float = 0.005  # of the beats of such a track dropped, and half as many inserted


@dataclass(frozen=True)
class Plan:
    """A sample: what there is to compose. Cheap to make, to pickle and to hash.

    Parameters
    ----------
    n_tracks
        Tracks in the sample, up to 26⁵.
    seed
        Same plan, same bytes (with the same numpy).
    n_cliques, n_covers
        Cover cliques, and the tracks that stand in them (at least two each). By default a fifth of the tracks stand
        in cliques as large as those of the SecondHandSongs train list.
    n_listeners
        By default a fifth of the tracks, at least 40; 0 for none.
    difficulty, errors
        How far versions stray, how often the analyser errs.

    Raises
    ------
    ValueError
        The figures contradict each other.
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
            raise ValueError(f"n_tracks must lie in 0..{MAX_TRACKS}, not {self.n_tracks}")
        mean_size = sum(k * n for k, n in SHS_CLIQUE_SIZES.items()) / sum(SHS_CLIQUE_SIZES.values())
        cliques, covers = self.n_cliques, self.n_covers
        if covers is None:
            covers = round(CLIQUE_SHARE * self.n_tracks if cliques is None else min(mean_size * cliques, self.n_tracks))
        if cliques is None:
            cliques = round(covers / mean_size)
        if cliques == 0 and self.n_covers is None:
            covers = 0
        if cliques < 0 or covers > self.n_tracks or covers < 2 * cliques or (cliques == 0 and covers):
            raise ValueError(f"{cliques} cliques of at least 2 cannot be {covers} of {self.n_tracks} tracks")
        object.__setattr__(self, "n_cliques", cliques)
        object.__setattr__(self, "n_covers", covers)
        if self.n_listeners is None:
            object.__setattr__(self, "n_listeners", max(40, self.n_tracks // 5) if self.n_tracks else 0)

    def track(self, index: int) -> "Track":
        """Everything planned for one track."""
        if not 0 <= index < self.n_tracks:
            raise IndexError(f"track {index} of a plan of {self.n_tracks}")
        return _block(self, index // BLOCK)[index % BLOCK]

    def tracks(self, index: Int64Array) -> "Tracks":
        """Everything planned for the tracks of these indices, as columns."""
        return _cast(self, index)


@dataclass(frozen=True, slots=True)
class Track:
    """One track's plan. Genres and instruments are positions in GENRES and INSTRUMENTS; -1 means none."""

    index: int
    work: int  # cliques first, then one work for each track outside them
    clique: int
    version: int  # 0 is the original
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
    tempo_ratio: float  # to the original
    meter: int
    section_bars: int
    length_s: float  # aimed at
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
    tempo_factor: float  # the analyser's tempo over the true one
    key_error: int
    mode_error: bool
    reported_meter: int
    off_beat: bool
    lost_share: float


@dataclass(frozen=True)
class Tracks:
    """Many tracks' plans as columns: the fields of Track, each an array of shape (n,)."""

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
        """Each track's plan by itself."""
        lists = [self.columns[name].tolist() for name in Track.__dataclass_fields__]
        return [Track(*values) for values in zip(*lists, strict=True)]


@dataclass(frozen=True)
class Layout:
    """Which slot each track stands in (the slots of a clique are neighbours), and which artists play which genre."""

    slots: Int32Array
    clique_starts: Int64Array
    artist_starts: Int64Array  # shape (genres + 1,)


@lru_cache(maxsize=4)
def layout(plan: Plan) -> Layout:
    """Arrays that place tracks in cliques and artists in genres; kept for the plans last used."""
    rng = np.random.default_rng([plan.seed & (2**64 - 1), plan.n_tracks])
    sizes = _clique_sizes(plan.n_cliques or 0, plan.n_covers or 0, rng)
    wanted = max(1, plan.n_tracks // TRACKS_PER_ARTIST)
    artists = [max(3, round(genre.share * wanted)) for genre in GENRES]
    return Layout(
        slots=rng.permutation(plan.n_tracks).astype(np.int32),
        clique_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        artist_starts=np.concatenate([[0], np.cumsum(artists)]).astype(np.int64),
    )


def _clique_sizes(n_cliques: int, n_covers: int, rng: np.random.Generator) -> Int64Array:
    """Sizes of at least 2 that sum to n_covers, spread as in the SecondHandSongs train list and shuffled."""
    if n_cliques == 0:
        return np.zeros(0, dtype=np.int64)
    listed = np.repeat(list(SHS_CLIQUE_SIZES), list(SHS_CLIQUE_SIZES.values()))
    quantiles = listed[((np.arange(n_cliques) + 0.5) * len(listed) / n_cliques).astype(np.int64)]
    beyond_two = (quantiles - 2).astype(np.float64) + 1e-9
    exact = beyond_two * ((n_covers - 2 * n_cliques) / beyond_two.sum())
    sizes = np.floor(exact).astype(np.int64)
    short = n_covers - 2 * n_cliques - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:short]] += 1
    return 2 + rng.permutation(sizes)


@lru_cache(maxsize=8)
def _block(plan: Plan, block: int) -> list[Track]:
    return _cast(plan, np.arange(block * BLOCK, min((block + 1) * BLOCK, plan.n_tracks))).rows()


# a second genre that equals the first is none, so a few more are drawn
_SECOND_DRAWN = TWO_GENRES / (1 - sum(genre.share**2 for genre in GENRES))
_INSTRUMENT_SHARES: dict[str, Float64Array] = {
    part: np.cumsum(
        [[genre.instruments[p].count(i) / len(genre.instruments[p]) for i in INSTRUMENTS] for genre in GENRES], axis=1
    )
    for p, part in enumerate(PARTS)
}
_MINOR = np.array([genre.minor for genre in GENRES])
_TRIPLE = np.array([genre.triple for genre in GENRES])
_DRUMLESS = np.array([genre.drumless for genre in GENRES])
_YEARS = np.array([genre.years for genre in GENRES])
# keys of real tracks, C first: guitars like D, G and A
_KEY_COUNTS = np.array([30, 20, 34, 9, 17, 17, 20, 31, 14, 26, 17, 20])
_KEY_CUMULATIVE = np.cumsum(_KEY_COUNTS) / _KEY_COUNTS.sum()
# the analyser's favourite mistakes: fifths, relatives, a semitone
_KEY_ERRORS = np.array([7, 5, 9, 3, 1, 11, 4, 2])
_KEY_ERROR_CUMULATIVE = np.cumsum([0.28, 0.24, 0.14, 0.12, 0.07, 0.07, 0.04, 0.04])
_METERS_HEARD = np.array([3, 1, 5, 7])
_METER_CUMULATIVE = np.cumsum([0.46, 0.31, 0.13, 0.1])


def _work_columns(seed: int, work: Int64Array) -> dict[str, NDArray[Any]]:
    genre = choose(SHARE_CUMULATIVE, uniform(seed, "work genre", work))
    tempo_log = TEMPO_LOG[genre] + TEMPO_SPREAD[genre] * normal(seed, "work tempo", work)
    return {
        "genre": genre,
        "key": choose(_KEY_CUMULATIVE, uniform(seed, "work key", work)),
        "mode": (uniform(seed, "work mode", work) >= _MINOR[genre]).astype(np.int64),
        "tempo_log": np.clip(tempo_log, np.log(56), np.log(208)),
        "meter": np.where(uniform(seed, "work meter", work) < _TRIPLE[genre], 3, 4),
        "section_bars": np.where((genre == 0) & (uniform(seed, "work bars", work) < 0.5), 12, 8),
        "length_z": normal(seed, "work length", work),
        "bits": (scramble(seed, "work bits", work) >> np.uint64(1)).astype(np.int64),
    }


def _cast(plan: Plan, index: Int64Array) -> Tracks:
    """Draw every column of the tracks of these indices."""
    seed, hard = plan.seed, plan.difficulty
    places = layout(plan)
    slot = places.slots[index].astype(np.int64)
    n_cliques, n_covers = len(places.clique_starts) - 1, int(places.clique_starts[-1])
    in_clique = slot < n_covers
    clique = np.where(in_clique, np.searchsorted(places.clique_starts, slot, side="right") - 1, -1)
    version = np.where(in_clique, slot - places.clique_starts[clique], 0)
    work_id = np.where(in_clique, clique, n_cliques + slot - n_covers)
    work = _work_columns(seed, work_id)
    cover = version > 0

    def draw(stream: str) -> Float64Array:
        return uniform(seed, stream, index)

    drawn = choose(SHARE_CUMULATIVE, draw("genre"))
    genre = np.where(cover & (draw("genre changed") < hard.genre_changed), drawn, work["genre"])
    second = choose(SHARE_CUMULATIVE, draw("second genre"))
    second = np.where((draw("two genres") < _SECOND_DRAWN) & (second != genre), second, -1)

    transposition = 1 + (11 * draw("transposition")).astype(np.int64)
    transposition = np.where(cover & (draw("transposed") < hard.transposed), transposition, 0)
    mode = work["mode"] ^ (cover & (draw("mode flipped") < hard.mode_flipped))
    genre_log = TEMPO_LOG[genre] + TEMPO_SPREAD[genre] * normal(seed, "genre tempo", index)
    pull = np.where(genre != work["genre"], hard.genre_tempo_pull, 0.0)
    tempo_log = (
        work["tempo_log"] + pull * (genre_log - work["tempo_log"]) + hard.tempo_spread * normal(seed, "tempo", index)
    )
    tempo_log = np.where(cover, np.clip(tempo_log, np.log(52), np.log(216)), work["tempo_log"])

    z = np.where(cover, 0.6 * work["length_z"] + 0.8 * normal(seed, "length", index), work["length_z"])
    state = choose(np.array([BEATLESS_SHARE, SHORT_SHARE, 1.0]), draw("state"))
    short_s = np.where(state == 0, 2 + 28 * draw("short length") ** 2, 4 + 24 * draw("short length"))
    length_s = np.where(state < 2, short_s, np.clip(226 * np.exp(0.27 * z * (1 + 0.1 * z * z)), 55, 700))

    home = places.artist_starts[genre]
    room = places.artist_starts[genre + 1] - home
    turn = (scramble(seed, "artist turn", work_id) >> np.uint64(40)).astype(np.int64)
    artist = home + np.where(in_clique, (turn + version) % room, (room * draw("artist") ** 1.5).astype(np.int64))
    years = _YEARS[genre]
    first = _YEARS[work["genre"], 0]
    written = first + ((2009 - first) * uniform(seed, "written", work_id) ** 0.4).astype(np.int64)
    recorded = written + ((2010 - written) * draw("recorded")).astype(np.int64)
    year = np.where(cover, np.clip(recorded, years[:, 0], 2010), written)

    def instrument(part: str) -> Int64Array:
        plays = np.where((second >= 0) & (draw(part + " genre") < 0.35), second, genre)
        return choose(_INSTRUMENT_SHARES[part][plays], draw(part))

    errs = plan.errors
    tempo_error = choose(np.cumsum([errs.tempo_doubled, errs.tempo_halved, 1.0]), draw("tempo error"))
    factor = np.array([2.0, 0.5, 1.0])[tempo_error]
    factor = np.where((np.exp(tempo_log) * factor > 235) | (np.exp(tempo_log) * factor < 40), 1.0, factor)
    key_error = _KEY_ERRORS[choose(_KEY_ERROR_CUMULATIVE, draw("key error"))]
    heard = _METERS_HEARD[choose(_METER_CUMULATIVE, draw("meter heard"))]
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
        **{part: instrument(part) for part in PARTS},
        "drumless": draw("drumless") < _DRUMLESS[genre],
        "melody_lost": cover & (draw("melody lost") < hard.melody_lost),
        "tuning_cents": np.where(
            draw("detuned") < hard.detuned, 90 * draw("tuning") - 45, 5 * normal(seed, "tuning", index)
        ),
        "work_bits": work["bits"],
        "version_bits": (scramble(seed, "version bits", index) >> np.uint64(1)).astype(np.int64),
        "tempo_factor": factor,
        "key_error": np.where(draw("key wrong") < errs.key_wrong, key_error, 0),
        "mode_error": draw("mode wrong") < errs.mode_wrong,
        "reported_meter": np.where(draw("meter wrong") < errs.meter_wrong, heard, work["meter"]),
        "off_beat": draw("off beat") < errs.off_beat,
        "lost_share": np.where(draw("beats lost") < errs.beats_lost, errs.lost_share, 0.0),
    }
    return Tracks(columns)
