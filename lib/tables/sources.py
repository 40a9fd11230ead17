"""Tables of the Million Song Dataset and its annotations."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

_SOURCE = key("source", "name of the annotation file without .txt, .cls and .gz")

MSD_TRACKS = Table(
    name="msd_tracks",
    doc="Million Song Dataset tracks: scalars, identifiers and tags.",
    grain="one track",
    key=("track_id",),
    owner="uri",
    checks={"track_id_shape": "track_id like 'TR________________'", "mode_known": "mode is null or mode in (0, 1)"},
    columns=(
        key("track_id", "MSD track id: TR and 16 characters"),
        Column("song_id", "string", "MSD song id: SO and 16 characters; several tracks can have the same"),
        Column("title", "string", "track title"),
        Column("artist_id", "string", "Echo Nest artist id: AR and 16 characters"),
        Column("artist_name", "string", "artist name"),
        Column("release", "string", "album title"),
        Column("year", "int", "release year; NULL when unknown to MusicBrainz"),
        Column("duration", "double", "length in s"),
        Column("tempo", "double", "estimated tempo in BPM; 0 when no beat was found"),
        Column("key", "int", "estimated key, 0 = C to 11 = B"),
        Column("key_confidence", "double", "confidence of key, 0 to 1"),
        Column("mode", "int", "0 = minor, 1 = major"),
        Column("mode_confidence", "double", "confidence of mode, 0 to 1"),
        Column("time_signature", "int", "beats per bar"),
        Column("time_signature_confidence", "double", "confidence of time_signature, 0 to 1"),
        Column("loudness", "double", "overall loudness in dB"),
        Column("end_of_fade_in", "double", "end of the fade-in in s from the start"),
        Column("start_of_fade_out", "double", "start of the fade-out in s from the start"),
        Column("song_hotttnesss", "double", "Echo Nest popularity of the song, 0 to 1"),
        Column("artist_hotttnesss", "double", "Echo Nest popularity of the artist, about 0 to 1.1"),
        Column("artist_familiarity", "double", "Echo Nest familiarity of the artist, 0 to 1"),
        Column("artist_latitude", "double", "degrees north"),
        Column("artist_longitude", "double", "degrees east"),
        Column("artist_location", "string", "place name"),
        Column("artist_mbid", "string", "MusicBrainz artist id"),
        Column("artist_playmeid", "int", "playme.com artist id"),
        Column("artist_7digitalid", "int", "7digital artist id"),
        Column("release_7digitalid", "int", "7digital release id"),
        Column("track_7digitalid", "int", "7digital track id"),
        Column("audio_md5", "string", "MD5 of the analysed audio"),
        Column("analysis_sample_rate", "int", "sample rate of the analysis in Hz"),
        key("uri", "file from which the track was read"),
        key("sha256", "SHA-256 of that file, hexadecimal"),
        RUN_ID,
        Column("artist_terms", "array<string>", "Echo Nest tags of the artist"),
        Column("artist_terms_freq", "array<float>", "frequency of each artist_terms tag, 0 to 1"),
        Column("artist_terms_weight", "array<float>", "weight of each artist_terms tag, 0 to 1"),
        Column("artist_mbtags", "array<string>", "MusicBrainz tags of the artist"),
        Column("artist_mbtags_count", "array<int>", "votes for each artist_mbtags tag"),
        Column("similar_artists", "array<string>", "Echo Nest artist ids, most similar first"),
    ),
)

MSD_ANALYSIS = Table(
    name="msd_analysis",
    doc="Million Song Dataset analysis arrays, float32.",
    grain="one track",
    key=("track_id",),
    owner="uri",
    checks={"segments_agree": "cardinality(segments_pitches) = 12 * cardinality(segments_start)"},
    columns=(
        key("track_id", "MSD track id"),
        key("uri", "file from which the track was read"),
        key("sha256", "SHA-256 of that file, hexadecimal"),
        RUN_ID,
        Column("segments_start", "array<float>", "start of each of N segments in s"),
        Column("segments_confidence", "array<float>", "confidence of each segment, 0 to 1"),
        Column("segments_pitches", "array<float>", "chroma C to B of each segment, row-major N x 12, row maximum 1"),
        Column("segments_timbre", "array<float>", "timbre coefficients of each segment, row-major N x 12"),
        Column("segments_loudness_start", "array<float>", "loudness at each segment start in dB, floor -60"),
        Column("segments_loudness_max", "array<float>", "peak loudness of each segment in dB"),
        Column("segments_loudness_max_time", "array<float>", "time of the peak in s from the segment start"),
        Column("sections_start", "array<float>", "start of each section in s"),
        Column("sections_confidence", "array<float>", "confidence of each section, 0 to 1"),
        Column("beats_start", "array<float>", "time of each beat in s"),
        Column("beats_confidence", "array<float>", "confidence of each beat, 0 to 1"),
        Column("bars_start", "array<float>", "time of each bar line in s"),
        Column("bars_confidence", "array<float>", "confidence of each bar, 0 to 1"),
        Column("tatums_start", "array<float>", "time of each tatum in s"),
        Column("tatums_confidence", "array<float>", "confidence of each tatum, 0 to 1"),
    ),
)

GENRE_LABELS = Table(
    name="genre_labels",
    doc="Expert genre labels, one or two per track and source.",
    grain="one label of one track",
    key=("track_id", "source", "rank"),
    checks={"rank_known": "rank in (0, 1)"},
    columns=(
        key("track_id", "MSD track id"),
        _SOURCE,
        key("rank", "0 = first genre, 1 = second", "int"),
        Column("genre", "string", "genre name as written in the annotation", nullable=False),
        RUN_ID,
    ),
)

COVER_CLIQUES = Table(
    name="cover_cliques",
    doc="SecondHandSongs cliques: tracks that are versions of one work.",
    grain="one track of one clique",
    key=("clique_id", "track_id"),
    checks={},
    columns=(
        key("clique_id", "clique id, unique over all lists"),
        key("track_id", "MSD track id"),
        _SOURCE,
        Column("title", "string", "title of one version of the work, chosen by the authors of the list"),
        Column("artist_id", "string", "Echo Nest artist id of the version"),
        Column("performance", "int", "SecondHandSongs performance id; NULL when unknown"),
        RUN_ID,
        Column("work_ids", "array<int>", "SecondHandSongs work ids of the clique; negative for works unknown to it"),
    ),
)

PLAYS = Table(
    name="plays",
    doc="Numbers of plays of songs by listeners.",
    grain="one listener and song in one source",
    key=("user_id", "song_id", "source"),
    writer="spark",
    checks={"play_count_positive": "play_count > 0"},
    columns=(
        key("user_id", "listener: the id in an annotation file, or the name of a library folder or of --user"),
        key("song_id", "MSD song id; for a library track its track id"),
        key(
            "source",
            "annotation file without .txt, .cls and .gz; for a playlist or history its kind, listener and path",
        ),
        Column("play_count", "int", "number of plays", nullable=False),
        RUN_ID,
    ),
)

SONG_MISMATCHES = Table(
    name="song_mismatches",
    doc="Pairs of song and track that are wrongly matched in the MSD; exclude them from taste data.",
    grain="one wrong pair",
    key=("song_id", "track_id"),
    checks={},
    columns=(
        key("song_id", "MSD song id"),
        key("track_id", "MSD track id"),
        _SOURCE,
        Column("song_artist", "string", "artist of the song"),
        Column("song_title", "string", "title of the song"),
        Column("track_artist", "string", "artist of the track"),
        Column("track_title", "string", "title of the track"),
        RUN_ID,
    ),
)

UNIQUE_TRACKS = Table(
    name="unique_tracks",
    doc="All MSD tracks with their song ids, from unique_tracks.txt; joins plays with tracks that are not ingested.",
    grain="one track",
    key=("track_id",),
    checks={},
    columns=(
        key("track_id", "MSD track id"),
        Column("song_id", "string", "MSD song id", nullable=False),
        _SOURCE,
        Column("artist_name", "string", "artist name"),
        Column("title", "string", "track title"),
        RUN_ID,
    ),
)
