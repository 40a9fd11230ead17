"""Tables of cover detection."""

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

_ANALYSIS_SHA256 = Column("sha256", "string", "SHA-256 of the input file of the analysis", nullable=False)
_CHROMA_STATUS = "ok, or the reason for no patch: too_few_segments, too_few_beats, too_short_for_patches, silent"

BEAT_CHROMA = Table(
    name="beat_chroma",
    doc="Chroma of every beat of a track.",
    grain="one track",
    key=("track_id",),
    checks={"beats_agree": "cardinality(beat_chroma) = 12 * n_beats"},
    columns=(
        key("track_id", "MSD or library track id"),
        Column("status", "string", _CHROMA_STATUS, nullable=False),
        Column("n_beats", "int", "number of beats; 0 without chroma", nullable=False),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column(
            "beat_chroma",
            "array<float>",
            "chroma, row-major 12 x n_beats; rows are the pitch classes C to B; maximum per beat 1 or 0",
        ),
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
        Column("n_patches", "int", "number of patches in the median: one per beat except the last 74", nullable=False),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column("median_patch", "array<float>", "451 distinct values of the 12 x 75 median; empty without a patch"),
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
        key("model_id", "model that computed the embedding, see models"),
        _ANALYSIS_SHA256,
        RUN_ID,
        Column("vector", "array<float>", "embedding; the distance measure is Euclidean"),
    ),
)

COVER_MATCHES = Table(
    name="cover_matches",
    doc="Tracks that may be versions of the same work as a query track, ranked.",
    grain="one query and candidate",
    key=("query_id", "candidate_id"),
    checks={"rank_positive": "rank > 0", "probability_bounded": "probability >= 0 and probability <= 1"},
    columns=(
        key("query_id", "query: track whose versions were searched for"),
        key("candidate_id", "candidate: track that may be a version of the same work"),
        Column("rank", "int", "1 = best", nullable=False),
        Column("model_id", "string", "model by whose embeddings the candidate was found", nullable=False),
        Column(
            "reranker", "string", "alignment measure that ranked the candidates; none if not reranked", nullable=False
        ),
        Column("distance", "double", "Euclidean distance of the embeddings", nullable=False),
        Column("alignment_distance", "double", "distance of the aligned chroma; NULL without a reranker"),
        Column("probability", "double", "calibrated probability of being a version of the same work"),
        Column("transposition", "int", "semitones from the query up to the candidate, 0 to 11"),
        Column("tempo_ratio", "double", "beats of the candidate per beat of the query"),
        Column(
            "search_id",
            "string",
            "hash of model, embeddings and settings; equal ids mean equal matches",
            nullable=False,
        ),
        RUN_ID,
    ),
)
