"""Tables of cover detection."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

_ANALYSIS_SHA256 = Column("sha256", "string", "SHA-256 of the file its analysis was read from", nullable=False)
_CHROMA_STATUS = "ok, or why there is no patch: too_few_segments, too_few_beats, too_short_for_patches, silent"

BEAT_CHROMA = Table(
    name="beat_chroma",
    doc="Chroma of every beat of a track.",
    grain="one track",
    key=("track_id",),
    checks={"beats_agree": "cardinality(beat_chroma) = 12 * n_beats"},
    columns=(
        key("track_id", "MSD or library track id"),
        Column("status", "string", _CHROMA_STATUS, nullable=False),
        Column("n_beats", "int", "number of beats B, 0 when there is no chroma", nullable=False),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column("beat_chroma", "array<float>", "chroma C to B of each beat, row-major 12 x B, column maximum 1 or 0"),
    ),
)

CHROMA_PATCHES = Table(
    name="chroma_patches",
    doc="Median over a track of the 2D Fourier magnitudes of its 75-beat chroma patches.",
    grain="one track",
    key=("track_id",),
    checks={"patch_where_ok": "cardinality(median_patch) = (case when status = 'ok' then 451 else 0 end)"},
    columns=(
        key("track_id", "MSD or library track id"),
        Column("status", "string", _CHROMA_STATUS, nullable=False),
        Column("n_patches", "int", "patches the median is of: one a beat, the last 74 aside", nullable=False),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column("median_patch", "array<float>", "the 451 distinct values of the 12 x 75 median; empty without a patch"),
    ),
)

COVER_VECTORS = Table(
    name="cover_vectors",
    doc="Embeddings of tracks: versions of one work lie close together.",
    grain="one track and model",
    key=("track_id", "model_id"),
    checks={},
    columns=(
        key("track_id", "MSD or library track id"),
        key("model_id", "model that made the vector, see models"),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column("vector", "array<float>", "the embedding, for Euclidean distance"),
    ),
)

COVER_MATCHES = Table(
    name="cover_matches",
    doc="Candidates for versions of the same work, best first.",
    grain="one query and candidate",
    key=("query_id", "candidate_id"),
    checks={"rank_positive": "rank > 0", "probability_bounded": "probability >= 0 and probability <= 1"},
    columns=(
        key("query_id", "track whose versions were sought"),
        key("candidate_id", "track that was found"),
        Column("rank", "int", "1 = best", nullable=False),
        Column("model_id", "string", "model whose vectors were searched", nullable=False),
        Column("reranker", "string", "measure that ordered the candidates, or none", nullable=False),
        Column("distance", "double", "Euclidean distance of the vectors", nullable=False),
        Column("alignment_distance", "double", "distance of the aligned chroma; NULL without a reranker"),
        Column("probability", "double", "calibrated probability of being a version of the same work"),
        Column("transposition", "int", "semitones the candidate lies above the query, 0 to 11"),
        Column("tempo_ratio", "double", "beats of the candidate for one beat of the query"),
        Column("search_id", "string", "hash of model, vectors and settings: the same finds the same", nullable=False),
        RUN_ID,
    ),
)
