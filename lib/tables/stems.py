"""Table of the stems of tracks."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

COVER_STEMS = Table(
    name="cover_stems",
    doc="Stems of library tracks: drums, bass, other and vocals, as FLAC files below the warehouse root.",
    grain="one stem of one track by one separator",
    key=("track_id", "separator", "stem"),
    checks={
        "stem_known": "stem in ('drums', 'bass', 'other', 'vocals')",
        "activity_bounded": "activity >= 0 and activity <= 1",
        "gain_not_positive": "gain_db <= 0",
    },
    columns=(
        key("track_id", "library track id"),
        key("separator", "model that separated the track: a row of models"),
        key("stem", "drums, bass, other or vocals"),
        Column("sha256", "string", "SHA-256 of the audio file", nullable=False),
        Column("artifact", "string", "path of the FLAC file below the warehouse root", nullable=False),
        Column(
            "samples_sha256",
            "string",
            "SHA-256 of the decoded samples (16 bits, little-endian, left and right channel alternating)",
            nullable=False,
        ),
        Column("sample_rate", "int", "sample rate in Hz", nullable=False),
        Column("duration", "double", "length in s", nullable=False),
        Column(
            "gain_db", "double", "gain of all stems of the track, so that no sample exceeds full scale", nullable=False
        ),
        Column("loudness_lufs", "double", "integrated loudness (BS.1770), with the gain; NULL for silence"),
        Column("true_peak_dbtp", "double", "true peak, with the gain; NULL for silence"),
        Column("activity", "double", "share of the time in which the stem sounds", nullable=False),
        RUN_ID,
    ),
)
