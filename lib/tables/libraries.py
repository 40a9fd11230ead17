"""Tables of listeners' own music."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key
from reprise.lib.tables.sources import MSD_ANALYSIS, MSD_TRACKS

_TRACK_ID = key("track_id", "LB and the first 16 hexadecimal digits of sha256")
_SHA256 = key("sha256", "SHA-256 of the audio file, hexadecimal")
_ARRAYS = tuple(c for c in MSD_ANALYSIS.columns if c.type == "array<float>")
_SCALARS = tuple(
    MSD_TRACKS.column(name)
    for name in (
        *("key", "key_confidence", "mode", "mode_confidence", "time_signature", "time_signature_confidence"),
        *("loudness", "end_of_fade_in", "start_of_fade_out", "analysis_sample_rate"),
    )
)

LIBRARY_TRACKS = Table(
    name="library_tracks",
    doc="Tracks of listeners: scalars of their analysis, named as those of msd_tracks, and tags.",
    grain="one track",
    key=("track_id",),
    checks={"track_id_shape": "track_id like 'LB________________'", "mode_known": "mode is null or mode in (0, 1)"},
    columns=(
        _TRACK_ID,
        Column("title", "string", "title tag; where there is none, the name of the file"),
        Column("artist_name", "string", "artist tag"),
        Column("album_artist", "string", "album artist tag"),
        Column("release", "string", "album tag"),
        Column("year", "int", "year of the date tag"),
        Column("duration", "double", "length in s, as decoded"),
        MSD_TRACKS.column("tempo"),
        Column("tempo_confidence", "double", "confidence of tempo, 0 to 1"),
        *_SCALARS,
        Column("isrc", "string", "ISRC tag: 12 characters, upper case, no hyphens"),
        Column("recording_mbid", "string", "MusicBrainz recording id"),
        Column("artist_mbid", "string", "MusicBrainz id of the first artist"),
        Column("release_mbid", "string", "MusicBrainz release id"),
        Column("bpm_tag", "double", "tempo tag in BPM, whoever wrote it"),
        Column("codec", "string", "what the audio is coded in, e.g. flac, mp3, aac", nullable=False),
        Column("sample_rate", "int", "sample rate of the file in Hz", nullable=False),
        Column("channel_count", "int", "channels of the file", nullable=False),
        Column("declared_duration", "double", "length in s that the header says; NULL when it says none"),
        Column("length_status", "string", "ok, shorter or longer than declared, or undeclared", nullable=False),
        _SHA256,
        RUN_ID,
        Column("genre_tags", "array<string>", "genre tags, as they are written"),
    ),
)

LIBRARY_ANALYSIS = Table(
    name="library_analysis",
    doc="Analysis arrays of library tracks, float32: the columns of msd_analysis.",
    grain="one track",
    key=("track_id",),
    checks={"segments_agree": "cardinality(segments_pitches) = 12 * cardinality(segments_start)"},
    columns=(_TRACK_ID, _SHA256, RUN_ID, *_ARRAYS),
)

LIBRARY_COPIES = Table(
    name="library_copies",
    doc="Which listener has which track: of several copies in one library the first in the order of names.",
    grain="one listener and track",
    key=("user_id", "track_id"),
    checks={},
    columns=(
        key("user_id", "listener: the --user given, or the name of their folder"),
        key("track_id", "library track id"),
        key("uri", "audio file of this listener"),
        _SHA256,
        RUN_ID,
    ),
)

UNMATCHED_PLAYS = Table(
    name="unmatched_plays",
    doc="Entries of playlists and listening histories that no known track matches.",
    grain="one listener and entry of one source",
    key=("user_id", "source", "entry"),
    checks={"play_count_positive": "play_count > 0"},
    columns=(
        key("user_id", "listener whose list it is"),
        key("source", "playlist or history it came from: see plays"),
        key("entry", "what it was matched by: MusicBrainz id, ISRC, normalised artist and title, or file"),
        Column("artist_name", "string", "artist as the source writes it"),
        Column("title", "string", "title as the source writes it"),
        Column("release", "string", "album as the source writes it"),
        Column("recording_mbid", "string", "MusicBrainz recording id"),
        Column("isrc", "string", "ISRC"),
        Column("play_count", "int", "number of plays; 1 for an entry of a playlist", nullable=False),
        key("uri", "file it came from"),
        RUN_ID,
    ),
)
