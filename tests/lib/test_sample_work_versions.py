"""The collection of works: what versions and decoys have in common with their work."""

import numpy as np
import pytest

from reprise.lib.detect.version_titles import parse_title
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, HARMONY_PART, LEAD_PART, Composition
from reprise.lib.music.sample.work_versions import (
    KINDS,
    N_DECOYS,
    TRACKS_PER_WORK,
    TagFaults,
    WorkCollection,
    WorkVersion,
    render_version,
)

COLLECTION = WorkCollection(12, 5, (90.0, 150.0))
RECORDINGS = COLLECTION.recordings()


def of(kind: str) -> list[tuple[WorkVersion, WorkVersion]]:
    """Pairs of the studio recording of a work and its version or decoy."""
    return [
        (RECORDINGS[one.number // TRACKS_PER_WORK * TRACKS_PER_WORK], one) for one in RECORDINGS if one.kind == kind
    ]


def verse(song: Composition, part: int) -> set[tuple[int, int]]:
    """Sixteenths and pitch classes above the key of a part in the first verse."""
    number = song.form.index("A")
    first, last = [*song.section_cells.tolist(), len(song.cell_s)][number : number + 2]
    notes = song.notes
    played = (notes.part == part) & (notes.cell >= first) & (notes.cell < last)
    pitch = (notes.pitch[played] - song.track.key) % 12
    return set(zip((notes.cell[played] - first).tolist(), pitch.tolist(), strict=True))


def shared(one: Composition, other: Composition, part: int = LEAD_PART) -> float:
    """Share of the notes of a part in the first verse that both have."""
    ours, theirs = verse(one, part), verse(other, part)
    return len(ours & theirs) / max(1, min(len(ours), len(theirs)))


def chords(song: Composition) -> set[tuple[int, int]]:
    """Bars and pitch classes of the harmony of the first verse."""
    return {(cell // song.bar_cells, pitch) for cell, pitch in verse(song, HARMONY_PART)}


def test_every_work_has_five_kinds_and_decoys_are_works_of_their_own() -> None:
    assert len(RECORDINGS) == 12 * TRACKS_PER_WORK
    assert [one.kind for one in RECORDINGS[:TRACKS_PER_WORK]] == [*KINDS, *["decoy"] * N_DECOYS]
    works = [one.work for one in RECORDINGS if one.kind != "decoy"]
    assert works == [work for work in range(12) for _ in KINDS]
    decoys = [one.work for one in RECORDINGS if one.kind == "decoy"]
    assert len({*decoys, *works}) == 12 + 12 * N_DECOYS


def test_it_is_the_same_each_time_and_another_seed_is_another_one() -> None:
    assert WorkCollection(12, 5, (90.0, 150.0)).recordings() == RECORDINGS
    other = WorkCollection(12, 6, (90.0, 150.0)).recordings()
    assert [one.tags for one in other] != [one.tags for one in RECORDINGS]
    first, second = (COLLECTION.compose(RECORDINGS[1]) for _ in range(2))
    assert np.array_equal(first.notes.start_s, second.notes.start_s)
    assert np.array_equal(first.notes.pitch, second.notes.pitch)


def test_a_decoy_is_as_like_its_work_as_another_work_can_be() -> None:
    for studio, decoy in of("decoy"):
        one, other = studio.track, decoy.track
        assert (one.artist, one.key, one.mode, one.meter) == (other.artist, other.key, other.mode, other.meter)
        assert abs(other.tempo_bpm / one.tempo_bpm - 1) <= 0.03
        ours, theirs = COLLECTION.compose(studio), COLLECTION.compose(decoy)
        assert shared(ours, theirs) < 0.6
        common = len(chords(ours) & chords(theirs)) / min(len(chords(ours)), len(chords(theirs)))
        assert common > 0.7


def test_versions_have_the_melody_of_the_work() -> None:
    for studio, remaster in of("remaster"):
        ours, theirs = COLLECTION.compose(studio), COLLECTION.compose(remaster)
        assert verse(ours, LEAD_PART) == verse(theirs, LEAD_PART)
        assert ours.form == theirs.form
        assert theirs.track.index != ours.track.index
        assert abs(theirs.track.tempo_bpm / ours.track.tempo_bpm - 1) <= 0.003
    for kind in ("live", "acoustic", "demo"):
        likeness = [shared(COLLECTION.compose(studio), COLLECTION.compose(version)) for studio, version in of(kind)]
        assert np.median(likeness) > 0.6


def test_parts_of_acoustic_versions_and_demos() -> None:
    for _, version in of("acoustic"):
        assert not (COLLECTION.compose(version).notes.part == DRUM_PART).any()
    missing = [
        {DRUM_PART, BASS_PART, HARMONY_PART} - set(COLLECTION.compose(version).notes.part.tolist())
        for _, version in of("demo")
    ]
    assert all(missing)
    assert len(set().union(*missing)) == 3


def test_times_of_a_live_recording_ascend() -> None:
    for _, version in of("live"):
        song = COLLECTION.compose(version)
        assert (np.diff(song.cell_s) > 0).all()
        assert song.cell_s[0] > 0
        assert (song.notes.duration_s > 0).all()
        assert song.duration_s > song.cell_s[-1]


def test_tags_without_faults_name_title_and_kind() -> None:
    clean = TagFaults(untagged=0, unmarked=0, other_title=0, misspelled=0, same_title=0, same_id=1)
    recordings = WorkCollection(12, 5, faults=clean).recordings()
    for one in recordings:
        parsed = parse_title(one.tags.title)
        studio = recordings[one.number // TRACKS_PER_WORK * TRACKS_PER_WORK]
        same = parsed.work_title == parse_title(studio.tags.title).work_title
        assert same == (one.kind != "decoy")
        assert one.tags.artist_name == studio.tags.artist_name
        assert parsed.kind in ((None, "studio") if one.kind in ("studio", "decoy") else (one.kind,))
        assert (one.tags.isrc == studio.tags.isrc) == (one.kind in ("studio", "remaster"))


def test_shares_of_faults() -> None:
    recordings = WorkCollection(150, 9).recordings()
    untagged = sum(one.tags.artist_name is None for one in recordings) / len(recordings)
    assert untagged == pytest.approx(TagFaults().untagged, abs=0.04)
    assert {one.tags.isrc for one in recordings if one.tags.artist_name is None} == {None}


def test_rendered_versions_are_sound() -> None:
    collection = WorkCollection(1, 3, (20.0, 20.0))
    mixes = [render_version(collection, one) for one in collection.recordings()[: len(KINDS)]]
    for mix in mixes:
        assert mix.dtype == np.float32
        assert mix.ndim == 2
        assert np.isfinite(mix).all()
        assert 0.05 < np.abs(mix).max() <= 0.96
    studio, _, remaster, _, _ = mixes
    assert abs(len(studio) / len(remaster) - 1) < 0.02
    assert not np.array_equal(studio, remaster)
