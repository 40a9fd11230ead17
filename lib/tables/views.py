"""Views of the tables. Spark and DuckDB run the same SQL.

A view can read tables and the views defined before it. A view with parameters is a table function, e.g.
``taste_overlap('a', 'b')``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reprise.lib.tables.genre_names import map_genre_sql
from reprise.lib.tables.tags import TAGS
from reprise.lib.tables.taste_formulas import HALF_CONFIDENCE_WEIGHT


@dataclass(frozen=True)
class View:
    """One view.

    Parameters
    ----------
    name, doc
        Name in SQL, and purpose in one line.
    columns
        Comments of the columns by column name, in the order of the query's result.
    sql
        The query. It refers to the parameters by their names.
    example
        A query that shows a typical use of the view.
    parameters
        Names of the string parameters of a table function.
    """

    name: str
    doc: str
    columns: Mapping[str, str]
    sql: str
    example: str
    parameters: tuple[str, ...] = ()


_TRACK = {
    "track_id": "MSD or library track id",
    "song_id": "song id as in plays: MSD song id, or track id of a library track",
    "title": "track title",
    "artist_name": "artist name",
    "release": "album title",
    "year": "release year; NULL when unknown",
    "duration": "length in s",
    "tempo": "tempo in BPM; NULL when no beat was found or when above 1000",
    "key": "0 = C to 11 = B",
    "mode": "0 = minor, 1 = major",
    "loudness": "overall loudness in dB",
}
_GENRE = {
    "genre": "common name of the genre: of an expert label, else of the file's genre tag, else of a model's answer",
    "source": "annotation, genre_tags for a tag of the file, or model from which the genre comes",
    "basis": "label, tag or model",
    "is_label": "true for an expert label",
}

ALL_TRACKS = View(
    name="all_tracks",
    doc="Tracks of the dataset and of listeners, one row each.",
    columns=_TRACK,
    # in both engines NaN is greater than every number, so tempo <= 1000 excludes it
    sql="""
SELECT track_id, song_id, title, artist_name, release, year, duration,
  CASE WHEN tempo > 0 AND tempo <= 1000 THEN tempo END AS tempo, key, mode, loudness
FROM msd_tracks
UNION ALL
SELECT track_id, track_id AS song_id, title, artist_name, release, year, duration,
  CASE WHEN tempo > 0 AND tempo <= 1000 THEN tempo END AS tempo, key, mode, loudness
FROM library_tracks""",
    example="SELECT artist_name, count(*) AS tracks FROM all_tracks GROUP BY artist_name ORDER BY tracks DESC LIMIT 10",
)

TRACK_GENRES = View(
    name="track_genres",
    doc="Genre of each track that has an expert label, a genre tag, or an answer of a model.",
    columns={
        "track_id": _TRACK["track_id"],
        "genre": _GENRE["genre"],
        "source_genre": "the genre in the words of its source",
        "source": _GENRE["source"],
        "basis": _GENRE["basis"],
        "is_label": _GENRE["is_label"],
    },
    # The text of a list of tags is the same in both engines but for quotes. A comma in a tag divides it.
    # Of several models, the one with the highest quality speaks among those whose domain has the track. A model of
    # the dataset's analyses does not speak for listeners' audio. If the model that speaks abstains, there is no genre.
    sql="""
WITH said AS (
  SELECT track_id, genre AS name, source, 'label' AS basis, 0 AS place, CAST(1 AS DOUBLE) AS quality, FALSE AS abstains
  FROM genre_labels WHERE rank = 0
  UNION ALL
  SELECT t.track_id, split_part(
      translate(CAST(t.genre_tags AS STRING), concat('[]"', chr(39), chr(92)), '    '), ',', p.place
    ) AS name,
    'genre_tags' AS source, 'tag' AS basis, p.place, CAST(1 AS DOUBLE) AS quality, FALSE AS abstains
  FROM library_tracks t CROSS JOIN (VALUES (1), (2), (3)) AS p(place)
  WHERE t.genre_tags IS NOT NULL
  UNION ALL
  SELECT s.track_id, s.genre AS name, s.model_id AS source, 'model' AS basis, 4 AS place, m.quality, s.abstains
  FROM genre_scores s JOIN models m ON m.model_id = s.model_id LEFT JOIN library_tracks l ON l.track_id = s.track_id
  WHERE s.rank = 1 AND (s.outside <= 1 OR NOT s.abstains) AND m.quality IS NOT NULL
    AND (m.input = 'analyses') = (l.track_id IS NULL)
), names AS (
  SELECT name, COMMON_NAME AS common FROM (SELECT DISTINCT name FROM said) d
), ordered AS (
  SELECT s.*, n.common,
    row_number() OVER (PARTITION BY s.track_id ORDER BY s.place, s.quality DESC, s.source) AS choice
  FROM said s JOIN names n ON n.name = s.name
  WHERE s.basis <> 'tag' OR n.common IS NOT NULL
)
SELECT track_id, coalesce(common, name) AS genre, trim(name) AS source_genre, source, basis,
  basis = 'label' AS is_label
FROM ordered WHERE choice = 1 AND NOT abstains""".replace("COMMON_NAME", map_genre_sql("name")),
    example="SELECT genre, count(*) AS tracks FROM track_genres GROUP BY genre ORDER BY tracks DESC",
)

SONG_TRACKS = View(
    name="song_tracks",
    doc="One track for each song, to join plays to tracks.",
    columns={
        "song_id": _TRACK["song_id"],
        "track_id": "track; of several tracks of a song, a correct one if possible, with the most reliable genre",
        "is_mismatch": "true when all tracks of the song are known to belong to other songs; exclude the song",
        **_GENRE,
        "genre": f"{_GENRE['genre']}; NULL without any of them",
        **{name: _TRACK[name] for name in ("year", "tempo", "key", "mode", "loudness")},
    },
    sql="""
WITH pairs AS (
  SELECT song_id, track_id FROM msd_tracks WHERE song_id IS NOT NULL
  UNION SELECT song_id, track_id FROM unique_tracks
  UNION SELECT track_id AS song_id, track_id FROM library_tracks
), ordered AS (
  SELECT p.song_id, p.track_id, m.track_id IS NOT NULL AS is_mismatch, g.genre, g.source, g.basis, g.is_label,
    row_number() OVER (
      PARTITION BY p.song_id
      ORDER BY m.track_id IS NOT NULL, g.is_label DESC NULLS LAST, g.basis DESC NULLS LAST, p.track_id
    ) AS choice
  FROM pairs p
  LEFT JOIN song_mismatches m ON m.song_id = p.song_id AND m.track_id = p.track_id
  LEFT JOIN track_genres g ON g.track_id = p.track_id
)
SELECT o.song_id, o.track_id, o.is_mismatch, o.genre, o.source, o.basis, o.is_label,
  t.year, t.tempo, t.key, t.mode, t.loudness
FROM ordered o LEFT JOIN all_tracks t ON t.track_id = o.track_id
WHERE o.choice = 1""",
    example="SELECT s.genre, sum(p.play_count) AS plays FROM plays p JOIN song_tracks s ON s.song_id = p.song_id"
    " WHERE NOT s.is_mismatch GROUP BY s.genre ORDER BY plays DESC",
)

TASTE_POPULATION = View(
    name="taste_population",
    doc="Share of each genre in the taste of all listeners together.",
    columns={
        "genre": "genre of a track",
        "share": "share of the weight of all listeners; the shares sum to 1",
        "listeners": "number of listeners who have played or own a track of the genre",
        "plays": "plays of the genre by all listeners",
    },
    sql="""
SELECT genre, sum(weight) / sum(sum(weight)) OVER () AS share, count(*) AS listeners,
  CAST(sum(plays) AS BIGINT) AS plays
FROM taste_profiles GROUP BY genre""",
    example="SELECT * FROM taste_population ORDER BY share DESC",
)

TASTE_EVIDENCE = View(
    name="taste_evidence",
    doc="How well the profile of each listener predicts songs of the listener that were held out from it.",
    columns={
        "user_id": "listener",
        "held_out_tracks": "songs held out: about a fifth, chosen by a hash of the song",
        "evidence": "bits by which the other songs predict the genre of a held-out one better than all listeners' do",
    },
    # (kept + c x prior) / (total + c) is the probability of a genre for the listener, where c is the weight at which
    # the confidence of a profile is 0.5; the formula is divided by the prior
    sql="""
WITH prior AS (
  SELECT genre, sum(kept_weight) / nullif(sum(sum(kept_weight)) OVER (), 0) AS share FROM taste_profiles GROUP BY genre
), totals AS (
  SELECT user_id, sum(kept_weight) AS weight FROM taste_profiles GROUP BY user_id
)
SELECT p.user_id, CAST(sum(p.held_out_tracks) AS BIGINT) AS held_out_tracks,
  round(sum(p.held_out_tracks * log2(
    (CASE WHEN q.share > 0 THEN p.kept_weight / q.share ELSE 0 END + HALF_WEIGHT)
    / (t.weight + HALF_WEIGHT)
  )) / sum(p.held_out_tracks), 9) AS evidence
FROM taste_profiles p JOIN prior q ON q.genre = p.genre JOIN totals t ON t.user_id = p.user_id
WHERE p.held_out_tracks > 0
GROUP BY p.user_id""".replace("HALF_WEIGHT", str(HALF_CONFIDENCE_WEIGHT)),
    example="SELECT count_if(evidence > 0) / count(*) AS better FROM taste_evidence WHERE held_out_tracks >= 4",
)

TASTE_TOP_GENRES = View(
    name="taste_top_genres",
    doc="Genres of each listener, ranked; shrunk towards the population when there are few plays.",
    columns={
        "user_id": "listener",
        "rank": "1 = genre with the highest taste",
        "genre": "genre of a track",
        "taste": "confidence x share + (1 - confidence) x population_share",
        "share": "share of the listener's weight",
        "population_share": "share of the weight of all listeners",
        "confidence": "confidence of the listener's shares, 0 to 1",
        "plays": "plays of tracks of the genre",
        "tracks": "number of different songs of the genre",
        "evidence": "see taste_evidence; NULL without held-out songs",
    },
    sql="""
WITH shrunk AS (
  SELECT p.user_id, p.genre, round(p.confidence * p.share + (1 - p.confidence) * q.share, 9) AS taste, p.share,
    q.share AS population_share, p.confidence, p.plays, p.tracks, e.evidence
  FROM taste_profiles p JOIN taste_population q ON q.genre = p.genre
  LEFT JOIN taste_evidence e ON e.user_id = p.user_id
)
SELECT user_id, CAST(row_number() OVER (PARTITION BY user_id ORDER BY taste DESC, genre) AS INT) AS rank, genre, taste,
  share, population_share, confidence, plays, tracks, evidence
FROM shrunk""",
    example="SELECT genre, taste, share, population_share FROM taste_top_genres WHERE user_id = :user ORDER BY rank",
)

TASTE_SIMILAR_LISTENERS = View(
    name="taste_similar_listeners",
    doc="Pairs of listeners with a genre in common, by similarity; with many listeners, filter by one user_id.",
    columns={
        "user_id": "listener",
        "other_user_id": "another listener with a genre in common",
        "similarity": "cosine similarity of their genre shares, above 0 and up to 1",
        "shared_genres": "number of genres to which both listen",
        "rank": "1 = most similar to user_id",
    },
    sql="""
WITH lengths AS (
  SELECT user_id, sqrt(sum(share * share)) AS length FROM taste_profiles GROUP BY user_id
), pairs AS (
  SELECT a.user_id, b.user_id AS other_user_id, sum(a.share * b.share) AS product, count(*) AS shared_genres
  FROM taste_profiles a JOIN taste_profiles b ON b.genre = a.genre AND b.user_id <> a.user_id
  GROUP BY a.user_id, b.user_id
), compared AS (
  SELECT p.user_id, p.other_user_id, round(p.product / (l.length * o.length), 9) AS similarity, p.shared_genres
  FROM pairs p JOIN lengths l ON l.user_id = p.user_id JOIN lengths o ON o.user_id = p.other_user_id
)
SELECT user_id, other_user_id, similarity, shared_genres,
  CAST(row_number() OVER (PARTITION BY user_id ORDER BY similarity DESC, other_user_id) AS INT) AS rank
FROM compared""",
    example="SELECT other_user_id, similarity FROM taste_similar_listeners WHERE user_id = :user AND rank <= 10",
)

TASTE_OVERLAP = View(
    name="taste_overlap",
    doc="Overlap of two listeners by genre; the sum is 1 for equal tastes and 0 without a common genre.",
    columns={
        "genre": "genre to which at least one of the two listens",
        "share_a": "share of the first listener's weight",
        "share_b": "share of the second listener's weight",
        "overlap": "the smaller one of the two shares",
    },
    sql="""
SELECT coalesce(a.genre, b.genre) AS genre, coalesce(a.share, 0) AS share_a, coalesce(b.share, 0) AS share_b,
  least(coalesce(a.share, 0), coalesce(b.share, 0)) AS overlap
FROM (SELECT genre, share FROM taste_profiles WHERE user_id = user_a) a
FULL JOIN (SELECT genre, share FROM taste_profiles WHERE user_id = user_b) b ON b.genre = a.genre""",
    example="SELECT * FROM taste_overlap(:a, :b) ORDER BY overlap DESC, genre",
    parameters=("user_a", "user_b"),
)

TRACK_TOP_TAGS = View(
    name="track_top_tags",
    doc="Tags of each library track, ranked by probability: genres, moods, instruments, decades.",
    columns={
        "track_id": "library track id",
        "rank": "1 = tag with the highest probability",
        "tag": "tag of listeners",
        "probability": "probability of the tag; each tag has a probability of its own, so their sum is not 1",
        "model_id": "model that predicted the tags",
    },
    sql="""
WITH whole AS (
  SELECT t.* FROM track_tags t WHERE t.window = -1
), named AS (
  SELECT track_id, model_id, replace(replace(column_name, 'from_', ''), '_', ' ') AS tag,
    CAST(probability AS DOUBLE) AS probability
  FROM whole UNPIVOT (probability FOR column_name IN (COLUMNS))
)
SELECT track_id,
  CAST(row_number() OVER (PARTITION BY track_id, model_id ORDER BY probability DESC, tag) AS INT) AS rank,
  tag, probability, model_id
FROM named""".replace("COLUMNS", ", ".join(TAGS)),
    example="SELECT tag, probability FROM track_top_tags WHERE track_id = :track AND rank <= 5",
)

TRACK_VERSIONS = View(
    name="track_versions",
    doc="Library tracks with the group of versions of one work to which each belongs.",
    columns={
        "track_id": "library track id",
        "group_id": "group of versions of one work; a track alone is a group of one",
        "title": "track title",
        "artist_name": "artist name",
        "release": "album title",
        "year": "release year; NULL when unknown",
        "duration": "length in s",
        "kind": "studio, live, remaster, acoustic, demo or another kind; NULL if title and album do not say",
        "version_count": "number of tracks in the group",
        "probability": "mean probability that the track and another one of the group are versions; NULL if alone",
        "is_representative": "true for the track that stands for the work",
        "representative_id": "track that stands for the work",
    },
    sql="""
SELECT v.track_id, v.group_id, t.title, t.artist_name, t.release, t.year, t.duration, v.kind, v.version_count,
  v.probability, v.track_id = v.representative_id AS is_representative, v.representative_id
FROM library_versions v JOIN library_tracks t ON t.track_id = v.track_id""",
    example="SELECT title, kind, duration FROM track_versions WHERE version_count > 1 ORDER BY group_id, title",
)

GENRE_TEMPO = View(
    name="genre_tempo",
    doc="Tempo statistics of the tracks of each genre.",
    columns={
        "genre": "genre of a track",
        "tracks": "number of tracks with a tempo",
        "tempo_mean": "mean tempo in BPM",
        "tempo_std": "standard deviation of the tempo in BPM",
        "tempo_median": "median tempo in BPM",
    },
    sql="""
SELECT g.genre, count(*) AS tracks, avg(t.tempo) AS tempo_mean, stddev_pop(t.tempo) AS tempo_std,
  median(t.tempo) AS tempo_median
FROM all_tracks t JOIN track_genres g ON g.track_id = t.track_id
WHERE t.tempo IS NOT NULL
GROUP BY g.genre""",
    example="SELECT genre, tempo_mean FROM genre_tempo ORDER BY tempo_mean DESC",
)

LIBRARY_OVERVIEW = View(
    name="library_overview",
    doc="Overview of the library of each listener: size, years and tempo.",
    columns={
        "user_id": "listener",
        "tracks": "number of different tracks",
        "hours": "total length in h",
        "artists": "number of different artist tags",
        "releases": "number of different album tags",
        "first_year": "earliest release year",
        "last_year": "latest release year",
        "tempo_mean": "mean tempo in BPM",
    },
    sql="""
SELECT c.user_id, count(*) AS tracks, sum(t.duration) / 3600 AS hours, count(DISTINCT t.artist_name) AS artists,
  count(DISTINCT t.release) AS releases, min(t.year) AS first_year, max(t.year) AS last_year,
  avg(CASE WHEN t.tempo > 0 AND t.tempo <= 1000 THEN t.tempo END) AS tempo_mean
FROM library_copies c JOIN library_tracks t ON t.track_id = c.track_id
GROUP BY c.user_id""",
    example="SELECT * FROM library_overview ORDER BY tracks DESC",
)

QUARANTINE_OVERVIEW = View(
    name="quarantine_overview",
    doc="Rejected inputs by job and kind of fault.",
    columns={
        "stage": "job that rejected the inputs",
        "error_class": "short name of the kind of fault",
        "inputs": "number of rejected inputs",
        "most_attempts": "highest number of attempts for one of these inputs",
        "example_uri": "one of these inputs",
        "example_message": "fault and remedy of example_uri",
    },
    sql="""
SELECT stage, error_class, count(*) AS inputs, max(attempts) AS most_attempts, min(uri) AS example_uri,
  min_by(message, uri) AS example_message
FROM quarantine GROUP BY stage, error_class""",
    example="SELECT * FROM quarantine_overview ORDER BY inputs DESC",
)

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        ALL_TRACKS,
        TRACK_GENRES,
        SONG_TRACKS,
        TASTE_POPULATION,
        TASTE_EVIDENCE,
        TASTE_TOP_GENRES,
        TASTE_SIMILAR_LISTENERS,
        TASTE_OVERLAP,
        TRACK_TOP_TAGS,
        TRACK_VERSIONS,
        GENRE_TEMPO,
        LIBRARY_OVERVIEW,
        QUARANTINE_OVERVIEW,
    )
}
"""All views by name. Each view is defined after the views that it reads."""
