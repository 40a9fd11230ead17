"""Titles of tracks in the Million Song Dataset and in listeners' libraries."""

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import LIBRARY_TRACKS, MSD_TRACKS


def fetch_title(warehouse: Warehouse, track_id: str) -> tuple[str, str]:
    """Return the title and the artist name of a track. A missing value is an empty string."""
    table = LIBRARY_TRACKS if track_id.startswith("LB") else MSD_TRACKS
    rows = warehouse.lookup(table, "track_id", track_id, track_id, ["title", "artist_name"]).to_pylist()
    return (rows[0]["title"] or "", rows[0]["artist_name"] or "") if rows else ("", "")
