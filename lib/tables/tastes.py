"""Tables of listeners' tastes."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

TASTE_PROFILES = Table(
    name="taste_profiles",
    doc="Taste profiles of listeners: share of each genre, and typical properties of its tracks.",
    grain="one listener and genre",
    key=("user_id", "genre"),
    writer="spark",
    checks={
        "share_bounded": "share > 0 and share <= 1",
        "evidence_positive": "weight > 0 and plays > 0 and tracks > 0",
    },
    columns=(
        key("user_id", "listener id, as in plays and library_copies"),
        key("genre", "genre of the tracks, see track_genres"),
        Column(
            "share",
            "double",
            "share of the weight of the listener; the shares of one listener sum to 1",
            nullable=False,
        ),
        Column("weight", "double", "damped plays: the sum over tracks of log2(1 + plays)", nullable=False),
        Column("plays", "bigint", "plays of tracks of the genre; an owned track counts as one play", nullable=False),
        Column("tracks", "bigint", "number of different songs of the genre", nullable=False),
        Column(
            "confidence",
            "double",
            "confidence from the weight of the listener, 0 to 1; 0.5 at weight 10, e.g. ten songs played once",
            nullable=False,
        ),
        Column("label_share", "double", "share of the weight from songs with an expert label", nullable=False),
        Column("tag_share", "double", "share of the weight from songs whose genre is a tag of the file", added=True),
        Column(
            "model_share", "double", "share of the weight from songs whose genre is an answer of a model", added=True
        ),
        Column(
            "unknown_share",
            "double",
            "share of songs without a genre in the weight of all songs of the listener; no other column counts them",
            added=True,
        ),
        Column("kept_weight", "double", "weight of the songs that are not held out, see taste_evidence", added=True),
        Column("held_out_tracks", "bigint", "number of songs of the genre that are held out", added=True),
        Column(
            "tempo_mean",
            "double",
            "weighted mean tempo in BPM; NULL when unknown; the statistics below are weighted too",
        ),
        Column("tempo_std", "double", "standard deviation of the tempo in BPM"),
        Column("loudness_mean", "double", "mean loudness in dB"),
        Column("loudness_std", "double", "standard deviation of the loudness in dB"),
        Column("key", "int", "mean of the keys on the circle of fifths, 0 = C to 11 = B"),
        Column("key_concentration", "double", "1 = always this key, 0 = keys spread evenly on the circle of fifths"),
        Column("major_share", "double", "share of the weight in major mode"),
        Column("year_mean", "double", "mean release year"),
        Column("year_std", "double", "standard deviation of the release year"),
        Column("decade", "int", "decade of year_mean, e.g. 1980"),
        RUN_ID,
    ),
)
