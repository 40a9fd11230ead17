"""Tables of what listeners like."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

TASTE_PROFILES = Table(
    name="taste_profiles",
    doc="What each listener likes: their listening by genre, and what a genre means for them.",
    grain="one listener and genre",
    key=("user_id", "genre"),
    writer="spark",
    checks={
        "share_bounded": "share > 0 and share <= 1",
        "evidence_positive": "weight > 0 and plays > 0 and tracks > 0",
    },
    columns=(
        key("user_id", "listener, as plays and library_copies name them"),
        key("genre", "genre of a track: its expert label, else the likeliest of its scores, see track_genres"),
        Column("share", "double", "share of the weight of the listener; those of a listener sum to 1", nullable=False),
        Column("weight", "double", "damped plays: the sum over tracks of log2(1 + plays)", nullable=False),
        Column("plays", "bigint", "plays of tracks of the genre; a track owned counts as one", nullable=False),
        Column("tracks", "bigint", "different songs of the genre", nullable=False),
        Column(
            "confidence", "double", "how much the weight of the listener says, 0 to 1: 0.5 at ten songs", nullable=False
        ),
        Column("label_share", "double", "share of weight whose genre is an expert label, not a score", nullable=False),
        Column("tempo_mean", "double", "mean tempo in BPM, by weight as all that follows; NULL where unknown"),
        Column("tempo_std", "double", "standard deviation of the tempo in BPM"),
        Column("loudness_mean", "double", "mean loudness in dB"),
        Column("loudness_std", "double", "standard deviation of the loudness in dB"),
        Column("key", "int", "middle of the keys on the circle of fifths, 0 = C to 11 = B"),
        Column("key_concentration", "double", "1: always that key; 0: keys all around the circle of fifths"),
        Column("major_share", "double", "share in major"),
        Column("year_mean", "double", "mean release year"),
        Column("year_std", "double", "standard deviation of the release year"),
        Column("decade", "int", "decade of year_mean, e.g. 1980"),
        RUN_ID,
    ),
)
