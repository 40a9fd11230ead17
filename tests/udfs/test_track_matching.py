"""Selection of the tracks that entries of playlists and histories may match."""

import pyarrow as pa

from reprise.udfs.track_matching import TRACKS_DDL, filter_by_match_key


def test_tracks_with_a_wanted_key_are_kept() -> None:
    names = [column.split()[0] for column in TRACKS_DDL.split(", ")]
    rows = [
        ("1", None, None, "The Ann", "Song (Remastered)"),
        ("2", None, "USRC17607839", None, None),
        ("3", None, None, "Ann", None),
        ("4", None, None, None, None),
        ("5", None, None, "Bob", "Song"),
    ]
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    wanted_keys = frozenset({"names:ann – song", "isrc:USRC17607839", "names:ann – "})
    kept, empty = filter_by_match_key([batch, batch.slice(0, 0)], wanted_keys=wanted_keys)
    assert kept.column("track_id").to_pylist() == ["1", "2"]
    assert (empty.num_rows, empty.schema) == (0, batch.schema)
