"""Table of the chords of tracks."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

BEAT_CHORDS = Table(
    name="beat_chords",
    doc="Chord of every beat of a track, with its probability.",
    grain="one track",
    key=("track_id",),
    checks={"beats_agree": "cardinality(chords) = n_beats and cardinality(probabilities) = n_beats"},
    columns=(
        key("track_id", "MSD or library track id"),
        Column("status", "string", "ok, or the reason for no chords: too_few_segments, too_few_beats", nullable=False),
        Column("n_beats", "int", "number of beats; 0 without chords", nullable=False),
        Column("estimator", "string", "name and version of the estimator", nullable=False),
        Column("sha256", "string", "sha256 of the analysis from which the chords were estimated", nullable=False),
        RUN_ID,
        Column(
            "chords",
            "array<string>",
            "chord of each beat of the analysis in the syntax of Harte, e.g. C:maj, A:min7, or N for no chord",
        ),
        Column(
            "probabilities",
            "array<float>",
            "probability that root and third of each chord are right; for N, that there is no chord",
        ),
    ),
)
