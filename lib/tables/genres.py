"""Tables of genre classification."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

GENRE_SCORES = Table(
    name="genre_scores",
    doc="Probabilities of the genres of tracks.",
    grain="one track, model and genre",
    key=("track_id", "model_id", "genre"),
    checks={"probability_bounded": "probability >= 0 and probability <= 1", "rank_positive": "rank > 0"},
    columns=(
        key("track_id", "MSD or library track id"),
        key("model_id", "model that was asked, see models, or the default of the package"),
        key("genre", "genre as the labels name it that the model was trained on"),
        Column(
            "probability", "double", "those of a track and model sum to 1; of audio the mean of windows", nullable=False
        ),
        Column("rank", "int", "1 = most likely of the model for this track", nullable=False),
        Column("sha256", "string", "SHA-256 of the file the features of the track were made from", nullable=False),
        RUN_ID,
        Column(
            "window_probabilities",
            "array<float>",
            "probability in each 3 s window; NULL of a model of analyses and of audio shorter than a window",
        ),
    ),
)
