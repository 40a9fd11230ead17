"""Build taste profiles: the genres of each listener, from plays and owned tracks.

Reads:  plays and library_copies. For the facts of songs: msd_tracks, unique_tracks, library_tracks, song_mismatches,
        genre_labels, genre_scores and models. With --works, also library_versions.
Writes: taste_profiles.
Grain:  one listener and genre.
Rerun:  if neither a table that it reads nor the version of reprise has changed, the job does nothing. If tables have
        changed, it computes only the listeners whose plays or owned tracks have changed, and those with a song whose
        facts or versions have changed. It computes all listeners with --force, after a change of --works or of
        reprise's version, or if the changes cannot be determined. The rows equal those of a full build. A run that is
        killed at any point and started again writes the same rows as an uninterrupted run.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reprise import __version__
from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._engine.warehouse.commits import Note
from reprise.jobs._engine.warehouse.merging import find_changed
from reprise.jobs._sql.spark_views import create_temporary_views
from reprise.jobs._tastes.profiles import (
    compute_profiles,
    count_matches,
    gather_evidence,
    replace_versions,
    select_facts,
    tune_session,
)
from reprise.lib.errors import RepriseError
from reprise.lib.tables import (
    GENRE_LABELS,
    GENRE_SCORES,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    LIBRARY_VERSIONS,
    MODELS,
    MSD_TRACKS,
    PLAYS,
    SONG_MISMATCHES,
    TABLES,
    TASTE_PROFILES,
    UNIQUE_TRACKS,
)
from reprise.lib.tables.views import ALL_TRACKS, SONG_TRACKS, TRACK_GENRES
from reprise.udfs.arrow import spark_schema

_EVIDENCE = (PLAYS, LIBRARY_COPIES)
_SONGS = (MSD_TRACKS, UNIQUE_TRACKS, LIBRARY_TRACKS, SONG_MISMATCHES, GENRE_LABELS, GENRE_SCORES, MODELS)
_ATTEMPTS = 20

Versions = Mapping[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--works", action="store_true", help="count all versions of a work as one song, as group-versions groups them"
    )
    add_force(parser)


def build(run: Run) -> None:
    """Update the profiles to the current versions of the input tables."""
    if not any(run.warehouse.exists(t) and run.warehouse.sizes(t)[0] for t in (*_EVIDENCE, TASTE_PROFILES)):
        raise UsageError("there are no plays and no library tracks: run ingest-annotations or ingest-library first")
    if run.args.works and not run.warehouse.exists(LIBRARY_VERSIONS):
        raise UsageError("--works needs the versions of the works: run group-versions first")
    for _ in range(_ATTEMPTS):
        last, now = run.warehouse.note(TASTE_PROFILES), _read_inputs(run)
        if last.content.get("made_from") == now and not run.args.force:
            run.counts = {"skipped": 1, "profiles": run.warehouse.sizes(TASTE_PROFILES)[0]}
            return
        since = None if run.args.force else _find_base(run, last, now)
        note = Note(last.number + 1, {"made_from": now, "run_id": run.run_id})
        _build(run, since, now["versions"], note)
        if run.warehouse.note(TASTE_PROFILES) == note:
            return  # if the notes differ, another run committed first, and nothing was written
    raise RepriseError(
        "taste_profiles was not written, because other runs kept writing it: run this job again when they are done"
    )


def _read_inputs(run: Run) -> dict[str, Any]:
    """Return the inputs that determine the result: the option, table ids, versions, and reprise's version."""
    read = (*_EVIDENCE, *_SONGS, *((LIBRARY_VERSIONS,) if run.args.works else ()))
    there = [table for table in read if run.warehouse.exists(table)]
    versions = run.warehouse.versions()
    return {
        "reprise_version": __version__,
        # without the option as before there was one, so that profiles of then are not built again
        **({"works": True} if run.args.works else {}),
        "tables": {table.name: run.warehouse.table_id(table) for table in there},
        "versions": {table.name: versions[table.name] for table in there},
    }


def _find_base(run: Run, last: Note, now: Mapping[str, Any]) -> Versions | None:
    """Return the versions of the input tables from which the stored profiles were computed.

    Return None if no profiles are stored, if another version of reprise computed them, if they count works and the new
    ones do not or vice versa, or if the changes since these versions cannot be determined.
    """
    then = last.content.get("made_from")
    if then is None or then["reprise_version"] != __version__ or then.get("works") != now.get("works"):
        return None
    if any(now["tables"].get(name) != identity for name, identity in then["tables"].items()):
        return None
    versions: Versions = then["versions"]
    changed = [TABLES[name] for name, version in versions.items() if now["versions"][name] != version]
    return versions if all(run.warehouse.is_readable(table, versions[table.name]) for table in changed) else None


def _build(run: Run, since: Versions | None, now: Versions, note: Note) -> None:
    """Compute and write taste profiles.

    If ``since`` is None, the profiles of all listeners are computed. Otherwise, only the profiles of listeners whose
    inputs changed between the versions ``since`` and ``now`` are computed.
    """
    spark = run.spark.newSession()  # a separate session, because its views read fixed versions of the tables
    tune_session(spark)
    with run.progress("steps") as bar:
        step = bar.add_task("", total=3)
        songs = _register_versions(run, spark, now)
        played = gather_evidence(spark.table(PLAYS.name), spark.table(LIBRARY_COPIES.name))
        evidence = replace_versions(played, spark.table(LIBRARY_VERSIONS.name)) if run.args.works else played
        songs.persist()
        touched = None if since is None else _find_touched(run, spark, songs, played, evidence, since, now).persist()
        n_touched = 0
        if touched is not None:
            n_touched = touched.count()  # then Spark knows the size of touched, and can choose the type of join
            evidence = evidence.join(touched, "user_id", "left_semi").persist()
        bar.advance(step)
        matches = count_matches(evidence, songs)
        bar.advance(step)
        profiles = compute_profiles(evidence, select_facts(songs), matches["rows_read"]).withColumn(
            "run_id", F.lit(run.run_id)
        )
        if touched is None:
            run.warehouse.replace(TASTE_PROFILES, profiles, note=note)
        else:
            # MERGE reads its source twice. If the source were only persisted, MERGE would compute it twice, because
            # views in the plan of the source prevent the use of the cache. A checkpoint is computed once.
            profiles = profiles.localCheckpoint()
            before = run.warehouse.read(spark, TASTE_PROFILES).join(touched, "user_id", "left_semi")
            gone = before.join(profiles, list(TASTE_PROFILES.key), "left_anti")
            run.warehouse.merge(TASTE_PROFILES, profiles, delete=gone, note=note)
        users = run.warehouse.read(spark, TASTE_PROFILES).select("user_id").distinct().count()
        run.counts = {
            "skipped": 0,
            **matches,
            "users_touched": users if touched is None else n_touched,
            "users": users,
            "profiles": run.warehouse.sizes(TASTE_PROFILES)[0],
        }
        for frame in filter(None, (songs, touched, evidence)):
            frame.unpersist()
        bar.advance(step)


def _register_versions(run: Run, spark: SparkSession, versions: Versions) -> DataFrame:
    """Register the tables at ``versions`` as views of the session; return the view ``song_tracks`` of these tables.

    A table that is not in ``versions`` is registered without rows.
    """
    frames = {
        table.name: run.warehouse.read(spark, table, version=versions[table.name])
        if table.name in versions
        else spark.createDataFrame([], spark_schema(table))
        for table in (*_EVIDENCE, *_SONGS, LIBRARY_VERSIONS)
    }
    create_temporary_views(spark, frames, (ALL_TRACKS, TRACK_GENRES, SONG_TRACKS))
    return spark.table(SONG_TRACKS.name)


def _find_touched(
    run: Run,
    spark: SparkSession,
    songs: DataFrame,
    played: DataFrame,
    evidence: DataFrame,
    since: Versions,
    now: Versions,
) -> DataFrame:
    """Find the listeners whose inputs differ between the versions ``since`` and ``now`` of the tables.

    The inputs of a listener are the listener's evidence and the facts of the songs in it. With ``--works``, the works
    of the songs that were ``played`` are inputs too.
    """
    changed = {name for name, version in now.items() if since.get(name) != version}
    touched = [
        run.warehouse.changed(spark, table, "user_id", since.get(table.name), now[table.name])
        for table in _EVIDENCE
        if table.name in changed
    ]
    if changed & {table.name for table in _SONGS}:
        before = select_facts(_register_versions(run, spark, since))
        other = find_changed(before.unionAll(select_facts(songs)), "song_id")
        touched.append(evidence.join(other, "song_id", "left_semi").select("user_id"))
    if LIBRARY_VERSIONS.name in changed:
        name = LIBRARY_VERSIONS.name
        regrouped = run.warehouse.changed(spark, LIBRARY_VERSIONS, "track_id", since.get(name), now[name])
        regrouped = regrouped.withColumnRenamed("track_id", "song_id")
        touched.append(played.join(regrouped, "song_id", "left_semi").select("user_id"))
    return reduce(DataFrame.unionAll, touched).distinct()


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("build_taste_profiles", __doc__ or "", add_arguments, build), argv)


if __name__ == "__main__":
    sys.exit(main())
