"""Build taste profiles: what each listener likes, from what they play and own.

Reads:  plays, library_copies; and for the facts of their songs msd_tracks, unique_tracks, library_tracks,
        song_mismatches, genre_labels, genre_scores, models.
Writes: taste_profiles.
Grain:  one listener and genre.
Rerun:  when no table has changed since, nothing is done. Else only those listeners are looked at whose plays have
        changed, or the facts of whose songs have; the rows are those of a full build. Killed at any point and started
        again, it ends in the same rows.
"""

import argparse
import sys
from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reprise import __version__
from reprise.jobs._engine.pending import add_force
from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._engine.warehouse.commits import Note
from reprise.jobs._engine.warehouse.merging import find_changed
from reprise.jobs._sql.spark_views import name_tables
from reprise.jobs._tastes.profiles import count_matches, find_facts, gather_evidence, profile, tune
from reprise.lib.errors import RepriseError
from reprise.lib.tables import (
    GENRE_LABELS,
    GENRE_SCORES,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
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
    add_force(parser)


def build(run: Run) -> None:
    """Bring the profiles up to date with the tables as they are now."""
    if not any(run.warehouse.exists(t) and run.warehouse.sizes(t)[0] for t in (*_EVIDENCE, TASTE_PROFILES)):
        raise UsageError("there are no plays and no libraries: run ingest-annotations or ingest-library first")
    for _ in range(_ATTEMPTS):
        last, now = run.warehouse.note(TASTE_PROFILES), _look(run)
        if last.content.get("made_from") == now and not run.args.force:
            run.counts = {"skipped": 1, "profiles": run.warehouse.sizes(TASTE_PROFILES)[0]}
            return
        since = None if run.args.force else _find_start(run, last, now)
        note = Note(last.number + 1, {"made_from": now, "run_id": run.run_id})
        _build(run, since, now["versions"], note)
        if run.warehouse.note(TASTE_PROFILES) == note:
            return  # else another run was faster, and nothing was written
    raise RepriseError("others keep writing taste_profiles: start again when they are done")


def _look(run: Run) -> dict[str, Any]:
    """What decides over the profiles: the tables and their versions, and what computes."""
    there = [table for table in (*_EVIDENCE, *_SONGS) if run.warehouse.exists(table)]
    versions = run.warehouse.versions()
    return {
        "reprise_version": __version__,
        "tables": {table.name: run.warehouse.identity(table) for table in there},
        "versions": {table.name: versions[table.name] for table in there},
    }


def _find_start(run: Run, last: Note, now: Mapping[str, Any]) -> Versions | None:
    """Versions of the tables that the profiles were made from; None when what has changed since cannot be told."""
    then = last.content.get("made_from")
    if then is None or then["reprise_version"] != __version__:
        return None
    if any(now["tables"].get(name) != identity for name, identity in then["tables"].items()):
        return None
    versions: Versions = then["versions"]
    changed = [TABLES[name] for name, version in versions.items() if now["versions"][name] != version]
    return versions if all(run.warehouse.readable(table, versions[table.name]) for table in changed) else None


def _build(run: Run, since: Versions | None, now: Versions, note: Note) -> None:
    """Make and write the profiles of all listeners, or of those for whom something has changed."""
    spark = run.spark.newSession()  # in which names stand for versions
    tune(spark)
    with run.progress("steps") as bar:
        step = bar.add_task("", total=3)
        songs = _name_versions(run, spark, now)
        evidence = gather_evidence(spark.table(PLAYS.name), spark.table(LIBRARY_COPIES.name))
        songs.persist()
        touched = None if since is None else _find_touched(run, spark, songs, evidence, since, now).persist()
        reached = 0
        if touched is not None:
            reached = touched.count()  # which also tells Spark how to join them
            evidence = evidence.join(touched, "user_id", "left_semi").persist()
        bar.advance(step)
        matches = count_matches(evidence, songs)
        bar.advance(step)
        profiles = profile(evidence, find_facts(songs), matches["rows_read"]).withColumn("run_id", F.lit(run.run_id))
        if touched is None:
            run.warehouse.replace(TASTE_PROFILES, profiles, note=note)
        else:
            # MERGE reads it twice, and misses what is persisted: it looks for it after views are resolved
            profiles = profiles.localCheckpoint()
            before = run.warehouse.read(spark, TASTE_PROFILES).join(touched, "user_id", "left_semi")
            gone = before.join(profiles, list(TASTE_PROFILES.key), "left_anti")
            run.warehouse.merge(TASTE_PROFILES, profiles, delete=gone, note=note)
        users = run.warehouse.read(spark, TASTE_PROFILES).select("user_id").distinct().count()
        run.counts = {
            "skipped": 0,
            **matches,
            "users_touched": users if touched is None else reached,
            "users": users,
            "profiles": run.warehouse.sizes(TASTE_PROFILES)[0],
        }
        for frame in filter(None, (songs, touched, evidence)):
            frame.unpersist()
        bar.advance(step)


def _name_versions(run: Run, spark: SparkSession, versions: Versions) -> DataFrame:
    """Let the session know the tables as they were in some versions; gives their ``song_tracks``."""
    frames = {
        table.name: run.warehouse.read(spark, table, version=versions[table.name])
        if table.name in versions
        else spark.createDataFrame([], spark_schema(table))
        for table in (*_EVIDENCE, *_SONGS)
    }
    name_tables(spark, frames, (ALL_TRACKS, TRACK_GENRES, SONG_TRACKS))
    return spark.table(SONG_TRACKS.name)


def _find_touched(
    run: Run, spark: SparkSession, songs: DataFrame, evidence: DataFrame, since: Versions, now: Versions
) -> DataFrame:
    """Listeners whose evidence differs between two versions of the tables, or the facts of whose songs do."""
    changed = {name for name, version in now.items() if since.get(name) != version}
    touched = [
        run.warehouse.changed(spark, table, "user_id", since.get(table.name), now[table.name])
        for table in _EVIDENCE
        if table.name in changed
    ]
    if changed & {table.name for table in _SONGS}:
        before = find_facts(_name_versions(run, spark, since))
        other = find_changed(before.unionAll(find_facts(songs)), "song_id")
        touched.append(evidence.join(other, "song_id", "left_semi").select("user_id"))
    return reduce(DataFrame.unionAll, touched).distinct()


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("build_taste_profiles", __doc__ or "", add_arguments, build), argv)


if __name__ == "__main__":
    sys.exit(main())
