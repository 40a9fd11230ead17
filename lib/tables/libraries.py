"""Tables of listeners' libraries."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key
from reprise.lib.tables.sources import MSD_ANALYSIS, MSD_TRACKS

_TRACK_ID = key("track_id", "LB and the first 16 hexadecimal digits of the SHA-256 of the audio file")
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
    doc="Library tracks of listeners: tags, and analysis scalars under the same names as in msd_tracks.",
    grain="one track",
    key=("track_id",),
    checks={"track_id_shape": "track_id like 'LB________________'", "mode_known": "mode is null or mode in (0, 1)"},
    columns=(
        _TRACK_ID,
        Column("title", "string", "title tag; without one, the file name"),
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
        Column("bpm_tag", "double", "tempo tag in BPM, of unknown accuracy"),
        Column("codec", "string", "audio codec, e.g. flac, mp3, aac", nullable=False),
        Column("sample_rate", "int", "sample rate of the file in Hz", nullable=False),
        Column("channel_count", "int", "channels of the file", nullable=False),
        Column(
            "declared_duration", "double", "length in s according to the header; NULL if the header does not declare it"
        ),
        Column("length_status", "string", "ok, shorter or longer than declared, or undeclared", nullable=False),
        _SHA256,
        RUN_ID,
        Column("genre_tags", "array<string>", "genre tags as written, without empty and repeated ones"),
    ),
)

LIBRARY_ANALYSIS = Table(
    name="library_analysis",
    doc="Analysis arrays of library tracks, float32: the arrays of msd_analysis, and candidates for the tempo.",
    grain="one track",
    key=("track_id",),
    checks={"segments_agree": "cardinality(segments_pitches) = 12 * cardinality(segments_start)"},
    columns=(
        _TRACK_ID,
        key("sha256", "SHA-256 of the SHA-256 of the audio file and the version of the analysis, hexadecimal"),
        RUN_ID,
        *_ARRAYS,
        Column(
            "tempo_candidates", "array<float>", "tempos in BPM that may be the tempo, most probable first", added=True
        ),
        Column("tempo_probabilities", "array<float>", "probability of each of tempo_candidates", added=True),
    ),
)

LIBRARY_COPIES = Table(
    name="library_copies",
    doc="Tracks in the library of each listener; of several copies of a track, only the first by path.",
    grain="one listener and track",
    key=("user_id", "track_id"),
    checks={},
    columns=(
        key("user_id", "listener: value of --user, or name of the folder of the listener"),
        key("track_id", "library track id"),
        key("uri", "audio file in the library of this listener"),
        _SHA256,
        RUN_ID,
    ),
)

UNMATCHED_PLAYS = Table(
    name="unmatched_plays",
    doc="Entries of playlists and listening histories that match no known track.",
    grain="one listener and entry of one source",
    key=("user_id", "source", "entry"),
    checks={"play_count_positive": "play_count > 0"},
    columns=(
        key("user_id", "listener to whom the playlist or history belongs"),
        key("source", "playlist or history that contains the entry; equals source in plays"),
        key("entry", "key of the entry: MusicBrainz id, ISRC, normalised artist and title, path, or title"),
        Column("artist_name", "string", "artist as written in the source"),
        Column("title", "string", "title as written in the source"),
        Column("release", "string", "album as written in the source"),
        Column("recording_mbid", "string", "MusicBrainz recording id"),
        Column("isrc", "string", "ISRC"),
        Column("play_count", "int", "number of plays; an entry of a playlist counts as one play", nullable=False),
        key("uri", "playlist or history file"),
        RUN_ID,
    ),
)

LIBRARY_VERSIONS = Table(
    name="library_versions",
    doc="Library tracks in groups of versions of one work: studio, live, remaster, acoustic, demo and others.",
    grain="one track",
    key=("track_id",),
    checks={
        "version_count_positive": "version_count > 0",
        "probability_bounded": "probability is null or (probability >= 0 and probability <= 1)",
    },
    columns=(
        _TRACK_ID,
        Column("group_id", "string", "smallest track id of the group; a track alone is a group of one", nullable=False),
        Column("representative_id", "string", "track that stands for the work", nullable=False),
        Column(
            "kind",
            "string",
            "studio, live, remaster, acoustic, demo, remix, instrumental, karaoke, a_cappella, radio_edit, extended,"
            " alternate or cover, as title or album say; NULL if they do not say",
        ),
        Column("version_count", "int", "number of tracks in the group", nullable=False),
        Column(
            "probability",
            "double",
            "mean probability that this track and another one of the group are versions; NULL for a track alone",
        ),
        Column("evidence", "string", "what could be compared: sound and tags, sound, tags, or nothing", nullable=False),
        Column("model_id", "string", "embedding model that chose what to compare, see models", nullable=False),
        Column("sha256", "string", "SHA-256 of content and embedding of the track, hexadecimal", nullable=False),
        RUN_ID,
    ),
)

LIBRARY_VERSION_PAIRS = Table(
    name="library_version_pairs",
    doc="Pairs of library tracks that were compared, and the probability that they are versions of one work.",
    grain="one pair of tracks",
    key=("track_id", "other_id"),
    checks={
        "ids_ascending": "track_id < other_id",
        "probability_bounded": "probability >= 0 and probability <= 1",
    },
    columns=(
        key("track_id", "library track id, the smaller one of the pair"),
        key("other_id", "library track id, the greater one of the pair"),
        Column("probability", "double", "calibrated probability of being versions of one work", nullable=False),
        Column("alignment_distance", "double", "distance of the aligned chroma; NULL if a track has too few beats"),
        Column("melody_similarity", "double", "similarity of the melodies, -1 to 1; NULL if a track has too few beats"),
        Column("transposition", "int", "semitones from the first track up to the other, 0 to 11"),
        Column("tempo_ratio", "double", "beats of the other track per beat of the first one"),
        Column("same_title", "boolean", "whether both have the title of one work; NULL if a title is not known"),
        Column("same_id", "boolean", "whether both have the same ISRC or MusicBrainz recording id", nullable=False),
        Column("sha256", "string", "SHA-256 of what was compared of both tracks, hexadecimal", nullable=False),
        RUN_ID,
    ),
)
