"""Tables of genre features."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

_SPECTRAL = (
    ("chroma_stft", "chroma of the power spectrum"),
    ("rms", "root mean square amplitude"),
    ("spectral_centroid", "spectral centroid in Hz"),
    ("spectral_bandwidth", "spectral bandwidth in Hz"),
    ("rolloff", "frequency in Hz below which 85 % of the spectrum lies"),
    ("zero_crossing_rate", "zero crossings per sample"),
    ("harmony", "sample values of the harmonic component"),
    ("perceptr", "sample values of the percussive component"),
)
_ADDED = (
    ("spectral_flatness", "spectral flatness, 0 to 1"),
    *((f"spectral_contrast{n}", f"spectral contrast in dB, band {n} of 7, lowest first") for n in range(1, 8)),
    ("spectral_flux", "increase of the mel spectrum in dB from frame to frame"),
    *((f"tonnetz{n}", f"tonal centroid {n} of 6") for n in range(1, 7)),
)


def _pairs(named: tuple[tuple[str, str], ...]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{name}_{suffix}", "float", f"{word} of {text}")
        for name, text in named
        for suffix, word in (("mean", "mean"), ("var", "variance"))
    )


GTZAN_COLUMNS = (
    *_pairs(_SPECTRAL),
    Column("tempo", "float", "tempo in BPM, estimated by librosa; NULL in rows of windows"),
    *_pairs(tuple((f"mfcc{n}", f"mel frequency cepstral coefficient {n}") for n in range(1, 21))),
)
"""Feature columns of the published GTZAN table, in the order of that table."""

AUDIO_GENRE_FEATURES = Table(
    name="audio_genre_features",
    doc="Audio features for genre models: those of the GTZAN table and others, for whole tracks and 3 s windows.",
    grain="one track, or one window of a track",
    key=("track_id", "window"),
    checks={"window_known": "window >= -1"},
    columns=(
        key("track_id", "library track id"),
        key("window", "3 s window, counted from 0; -1 for the whole track", "int"),
        Column("start_s", "float", "start of the window in s", nullable=False),
        Column("length_s", "float", "length of the window or track in s", nullable=False),
        Column("sha256", "string", "SHA-256 of the audio file", nullable=False),
        RUN_ID,
        *GTZAN_COLUMNS,
        *_pairs(_ADDED),
    ),
)

_SCALARS = (
    ("duration", "length in s"),
    ("tempo", "tempo in BPM; NULL when no beat was found"),
    ("loudness", "overall loudness in dB"),
    ("key", "key, 0 = C to 11 = B"),
    ("key_confidence", "confidence of key, 0 to 1"),
    ("mode", "0 = minor, 1 = major"),
    ("mode_confidence", "confidence of mode, 0 to 1"),
    ("time_signature", "beats per bar"),
    ("time_signature_confidence", "confidence of time_signature, 0 to 1"),
    ("fade_in_s", "length of the fade-in in s"),
    ("fade_out_s", "length of the fade-out in s"),
    ("segments_per_s", "segments per second"),
    ("beats_per_s", "beats per second"),
    ("bars_per_s", "bars per second"),
    ("sections_per_min", "sections per minute"),
    ("beats_period_cv", "standard deviation of the beat periods divided by their mean"),
)
_SEGMENT_STATISTICS = (
    ("segments_length", "length of the segments in s"),
    ("segments_confidence", "confidence of the segments"),
    ("segments_loudness_start", "loudness at the segment starts in dB"),
    ("segments_loudness_max", "peak loudness of the segments in dB"),
    ("segments_loudness_max_time", "time to the segment peaks in s"),
    *((f"segments_pitches{n}", f"chroma of pitch class {n} of 12, 1 = C, of the segments") for n in range(1, 13)),
    *((f"segments_timbre{n}", f"timbre coefficient {n} of 12 of the segments") for n in range(1, 13)),
)

MSD_GENRE_FEATURES = Table(
    name="msd_genre_features",
    doc="Features for genre models from track analyses: scalars of the track and statistics of its segments.",
    grain="one track",
    key=("track_id",),
    checks={},
    columns=(
        key("track_id", "MSD or library track id"),
        Column("sha256", "string", "SHA-256 of the input file of the analysis", nullable=False),
        RUN_ID,
        *(Column(name, "float", text) for name, text in _SCALARS),
        *_pairs(_SEGMENT_STATISTICS),
    ),
)

GENRE_IMAGES = Table(
    name="genre_images",
    doc="Images of tracks (tensors, the input of genre models).",
    grain="one track and kind",
    key=("track_id", "kind"),
    checks={"image_agrees": "cardinality(image) = height * width * depth"},
    columns=(
        key("track_id", "MSD or library track id"),
        key("kind", "msd (pitches and timbre), mel, mfcc or cqt"),
        Column("depth", "int", "number of planes: 2 for msd, 1 for other kinds", nullable=False),
        Column("height", "int", "number of rows: pitches, coefficients or bands", nullable=False),
        Column("width", "int", "number of columns: time steps", nullable=False),
        Column("sha256", "string", "SHA-256 of the input file", nullable=False),
        RUN_ID,
        Column("image", "array<float>", "values, row-major depth x height x width"),
    ),
)
