"""Tables of genre classification."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

GENRE_SCORES = Table(
    name="genre_scores",
    doc="Genre probabilities of tracks, predicted by genre models.",
    grain="one track, model and genre",
    key=("track_id", "model_id", "genre"),
    checks={"probability_bounded": "probability >= 0 and probability <= 1", "rank_positive": "rank > 0"},
    columns=(
        key("track_id", "MSD or library track id"),
        key("model_id", "model that predicted the genre: a row of models, or the default model of the package"),
        key("genre", "genre name, as in the training labels of the model"),
        Column(
            "probability",
            "double",
            "probability of the genre; sum over the genres of a track and model is 1; for audio, mean over windows",
            nullable=False,
        ),
        Column(
            "outside",
            "double",
            "how far the track lies outside the music on which the model was trained; 1 = limit; NULL = cannot be told",
            added=True,
        ),
        Column(
            "abstains",
            "boolean",
            "true if the model has no answer: outside its domain, where its probabilities are averaged with a guess, or"
            " with all probabilities too low; NULL in rows written before 0.2",
            added=True,
        ),
        Column("rank", "int", "1 = most likely genre of the track by this model", nullable=False),
        Column("sha256", "string", "SHA-256 of the input file of the features", nullable=False),
        RUN_ID,
        Column(
            "window_probabilities",
            "array<float>",
            "probability in each 3 s window; NULL for models of analyses and for audio shorter than a window",
        ),
    ),
)
