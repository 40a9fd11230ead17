"""Versions of works as a listener's library holds them: studio, live, remaster, acoustic, demo, and decoys.

A remaster has the notes of the studio recording, but not its level, noise and exact speed. Every other version is a
performance of its own. A decoy is another work that is hard to tell from the first: it is by the same artist, in the
same key, within 3 % of the tempo and on the same chord progressions; only its melody, and often its form, differ.

The tags are as incomplete and wrong as those of real files can be, see `TagFaults`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, HARMONY_PART, Composition, compose_track
from reprise.lib.music.compose.genre_styles import INSTRUMENTS
from reprise.lib.music.compose.plan import NORMAL, Difficulty, SamplePlan, Track
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.tones import SAMPLE_RATE
from reprise.lib.music.sample.metadata import name_artists, title_works
from reprise.lib.music.sample.words import PLACES

KINDS = ("studio", "live", "remaster", "acoustic", "demo")
N_DECOYS = 2  # decoys of each work
TRACKS_PER_WORK = len(KINDS) + N_DECOYS
_INSTRUMENT_NUMBERS = {name: number for number, name in enumerate(INSTRUMENTS)}

MARKS = {
    "studio": ("", "", "", "", " (Album Version)", " (Single Version)", " [Explicit]"),
    "live": (
        *(" (Live)", " [Live]", " (Live at {place})", " - Live in {place}, {year}", " - Live", " (live {year})"),
        *(" (En vivo)", " (Ao Vivo)", " (En directo)", " (Live-Version)", " (Dal vivo)", " (ライブ)"),
    ),
    "remaster": (
        *(" (Remastered)", " - {year} Remaster", " (Remastered {year})", " ({year} Digital Remaster)"),
        *(" - Remastered Version", " (Remasterizado {year})", " (Remasterisé)", " (Rimasterizzato)"),
    ),
    "acoustic": (
        *(" (Acoustic)", " [Acoustic Version]", " - Acoustic", " (Unplugged)", " (Acústico)", " (Version acoustique)"),
        *(" (Akustik)", " (Akustikversion)", " (Acustico)"),
    ),
    "demo": (" (Demo)", " [Demo]", " - Demo", " (Demo {year})", " (Early Demo)", " (Demo Version)", " (Maqueta)"),
}
"""Marks that titles of each kind of version have in many languages, as a pattern."""

_DIFFICULTIES = {
    "studio": Difficulty(),
    "remaster": Difficulty(),
    "live": Difficulty(
        structure_edit=0.3, chord_substituted=0.03, note_dropped=0.08, note_changed=0.06, note_moved=0.15,
        note_added=0.08, chroma_noise=1.25,
    ),
    "acoustic": Difficulty(
        structure_edit=0.25, chord_substituted=0.05, note_dropped=0.1, note_changed=0.08, note_moved=0.15,
        note_added=0.06, chroma_noise=0.9,
    ),
    "demo": Difficulty(
        structure_edit=0.35, chord_substituted=0.06, note_dropped=0.12, note_changed=0.1, note_moved=0.15,
        note_added=0.05, chroma_noise=1.4,
    ),
    "decoy": Difficulty(
        structure_edit=0.1, chord_substituted=0.0, note_dropped=0.0, note_changed=0.0, note_moved=0.0, note_added=0.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TagFaults:
    """Shares of files whose tags are missing or wrong."""

    untagged: float = 0.1
    """No tag at all."""
    unmarked: float = 0.15
    """The title does not say that the recording is live, acoustic, a demo or a remaster."""
    other_title: float = 0.03
    """Another title than that of the work, e.g. a translation."""
    misspelled: float = 0.05
    """A letter of the title is missing."""
    same_title: float = 0.04
    """A decoy has the title of the other work."""
    same_id: float = 0.5
    """A remaster has the MusicBrainz recording id or the ISRC of the studio recording."""


class Tags(NamedTuple):
    """Tags of a file. A missing tag is None."""

    title: str | None
    artist_name: str | None
    isrc: str | None
    recording_mbid: str | None


@dataclass(frozen=True)
class WorkVersion:
    """One recording in the collection.

    Parameters
    ----------
    number
        Number of the recording in the collection.
    work
        Number of its work. The work of a decoy has no other recording.
    kind
        One of `KINDS`, or ``decoy``.
    """

    number: int
    work: int
    kind: str
    track: Track
    tags: Tags


@dataclass(frozen=True)
class WorkCollection:
    """A collection of works with five kinds of versions each, and of decoys.

    Parameters
    ----------
    n_works
        Number of works with versions.
    seed
        Seed of all random numbers.
    length_s
        Shortest and longest planned length of a recording.
    """

    n_works: int
    seed: int
    length_s: tuple[float, float] = (90.0, 420.0)
    faults: TagFaults = TagFaults()

    @property
    def plan(self) -> SamplePlan:
        """The plan from which the tracks are derived."""
        return SamplePlan(self.n_works * TRACKS_PER_WORK, seed=self.seed, n_cliques=0, n_covers=0)

    def recordings(self) -> list[WorkVersion]:
        """Return all recordings: of each work its versions in the order of `KINDS`, then its decoys."""
        return [self._draw(work, place) for work in range(self.n_works) for place in range(TRACKS_PER_WORK)]

    def compose(self, recording: WorkVersion) -> Composition:
        """Compose a recording."""
        kind, track = recording.kind, recording.track
        plan = replace(self.plan, difficulty=_DIFFICULTIES[kind])
        rng = make_generator(self.seed, "work version", recording.number)
        if kind == "remaster":  # played as the studio recording, but analysed and mixed as a recording of its own
            song = compose_track(plan, replace(track, index=track.index - KINDS.index(kind)))
            return replace(song, track=track)
        song = compose_track(plan, track)
        if kind == "live":
            song = _drift(song, rng)
        if kind == "acoustic" and rng.random() < 0.6:
            song = _leave_out(song, BASS_PART)
        if kind == "demo":
            song = _leave_out(song, int(rng.choice([DRUM_PART, BASS_PART, HARMONY_PART])))
        return song

    def _draw(self, work: int, place: int) -> WorkVersion:
        number = work * TRACKS_PER_WORK + place
        kind = KINDS[place] if place < len(KINDS) else "decoy"
        rng = make_generator(self.seed, "work version plan", number)
        first, own = (self.plan.track(index) for index in (work * TRACKS_PER_WORK, number))
        # the errors of the analysis are those of the recording's own track
        track = replace(
            first, index=number, version=min(place, 1), state=NORMAL, length_s=self._limit(first.length_s),
            version_bits=own.version_bits, tuning_cents=own.tuning_cents, tempo_factor=own.tempo_factor,
            key_error=own.key_error, mode_error=own.mode_error, reported_meter=own.reported_meter,
            off_beat=own.off_beat, lost_share=own.lost_share, melody_lost=False,
        )  # fmt: skip
        if kind == "remaster":
            track = replace(track, version=0, tempo_bpm=track.tempo_bpm * rng.uniform(0.997, 1.003))
        elif kind == "live":
            track = _change(track, rng, tempo=(0.02, 0.04), keys=(0,) * 8 + (-1, -2))
        elif kind == "acoustic":
            harmony = _INSTRUMENT_NUMBERS[str(rng.choice(["acoustic guitar", "piano", "nylon guitar"]))]
            track = _change(track, rng, tempo=(-0.05, 0.07), keys=(0,) * 6 + (-3, -2, 2, 5))
            track = replace(track, drumless=True, harmony=harmony)
        elif kind == "demo":
            track = _change(track, rng, tempo=(0.0, 0.06), keys=(0,) * 8 + (-1, 1))
        elif kind == "decoy":
            bits = own.work_bits if rng.random() < 0.5 else first.work_bits
            track = replace(
                track, melody_lost=True, work_bits=bits, tempo_bpm=track.tempo_bpm * rng.uniform(0.97, 1.03),
                drums=own.drums if own.genre == first.genre else first.drums,
                lead=own.lead if own.genre == first.genre else first.lead,
                length_s=self._limit(own.length_s),
            )  # fmt: skip
        own_work = work if kind != "decoy" else self.n_works + number
        return WorkVersion(number, own_work, kind, track, self._tag(rng, work, number, kind, track))

    def _limit(self, length_s: float) -> float:
        return float(np.clip(length_s, *self.length_s))

    def _tag(self, rng: np.random.Generator, work: int, number: int, kind: str, track: Track) -> Tags:
        faults, plan = self.faults, self.plan
        draws = rng.random(6)
        title_of = work * TRACKS_PER_WORK if kind != "decoy" or draws[0] < faults.same_title else number
        if draws[1] < faults.other_title:
            title_of = number
        title = title_works(plan, np.array([title_of]))[0]
        if draws[2] < faults.misspelled:
            at = int(rng.integers(len(title)))
            title = title[:at] + title[at + 1 :]
        if draws[3] >= faults.unmarked:
            marks = MARKS["studio" if kind == "decoy" else kind]
            place = PLACES[int(rng.integers(len(PLACES)))][0].partition(",")[0]
            title += marks[int(rng.integers(len(marks)))].format(place=place, year=track.year)
        shares_ids = kind == "remaster" and draws[4] < faults.same_id
        isrc, mbid = (f"{index:012d}" for index in ((work * TRACKS_PER_WORK if shares_ids else number),) * 2)
        if draws[5] < faults.untagged:
            return Tags(f"track {1 + number % 20:02d}", None, None, None)
        artist = name_artists(plan, np.array([track.artist]))[0]
        return Tags(title, artist, f"ZZ{isrc[2:]}", f"00000000-0000-4000-8000-{mbid}")


def _change(track: Track, rng: np.random.Generator, *, tempo: tuple[float, float], keys: tuple[int, ...]) -> Track:
    """Return a track with another tempo (mean and standard deviation of its logarithm) and perhaps in another key."""
    shift = keys[int(rng.integers(len(keys)))] % 12
    return replace(
        track,
        tempo_bpm=track.tempo_bpm * float(np.exp(tempo[0] + tempo[1] * rng.standard_normal())),
        key=(track.key + shift) % 12,
        transposition=shift,
    )


def _drift(song: Composition, rng: np.random.Generator) -> Composition:
    """Let the tempo rise and fall by up to 2 %, as it does on stage."""
    period_s, phase = rng.uniform(40, 120), rng.uniform(0, 2 * np.pi)

    def warp(times: Float64Array) -> Float64Array:
        depth = 0.02 * period_s / (2 * np.pi)
        warped: Float64Array = times + depth * (1 + np.sin(2 * np.pi * times / period_s + phase) - np.sin(phase))
        return warped

    notes = song.notes
    start_s = warp(notes.start_s)
    return replace(
        song,
        notes=replace(notes, start_s=start_s, duration_s=warp(notes.start_s + notes.duration_s) - start_s),
        cell_s=warp(song.cell_s),
        duration_s=round(float(warp(np.array([song.duration_s]))[0]), 5),
    )


def _leave_out(song: Composition, part: int) -> Composition:
    notes = song.notes
    kept = notes.part != part
    columns = {name: getattr(notes, name)[kept] for name in notes.__dataclass_fields__}
    return replace(song, notes=type(notes)(**columns))


def render_version(collection: WorkCollection, recording: WorkVersion) -> Float32Array:
    """Render a recording: the mix, float32 (frames, 2) at 44,100 frames per second.

    A live recording has the noise of an audience, a demo the narrow band of a cassette, and a remaster more treble and
    less dynamic range than the studio recording.
    """
    from scipy.signal import butter, sosfilt  # imported here: the import takes a second

    stems = render(collection.compose(recording))
    mix: Float32Array = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    rng = make_generator(collection.seed, "work version sound", recording.number)
    if recording.kind == "live":
        crowd = sosfilt(
            butter(1, (300, 3000), "bandpass", fs=SAMPLE_RATE, output="sos"), rng.standard_normal(mix.shape), axis=0
        )
        swell = 1 + 0.5 * np.sin(np.arange(len(mix)) / SAMPLE_RATE * rng.uniform(0.05, 0.3))
        mix += (0.15 * float(np.sqrt(np.mean(mix**2))) * swell[:, None] * crowd).astype(np.float32)
    elif recording.kind == "demo":
        band = butter(2, (rng.uniform(80, 160), rng.uniform(3500, 7000)), "bandpass", fs=SAMPLE_RATE, output="sos")
        mix = sosfilt(band, mix, axis=0).astype(np.float32)
    elif recording.kind == "remaster":
        treble = sosfilt(butter(1, 3000, "highpass", fs=SAMPLE_RATE, output="sos"), mix, axis=0)
        mix = np.tanh(1.6 * (mix + rng.uniform(0.1, 0.6) * treble)).astype(np.float32)
    peak = float(np.abs(mix).max())
    limited: Float32Array = mix * np.float32(0.95 / max(peak, 0.95))
    return limited
