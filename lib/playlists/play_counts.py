"""Count the entries of a playlist, history or collection as plays of known tracks."""

from collections import Counter
from dataclasses import dataclass, field
from io import BufferedReader

from reprise.lib.annotations.stream import Reject
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name
from reprise.lib.playlists.entries import Entry
from reprise.lib.playlists.formats import HEAD_BYTES, detect
from reprise.lib.playlists.listeners import ListenerTracks
from reprise.lib.playlists.matching import Matcher, entry_key

_MAX_REJECTS = 1_000
"""Largest number of rejected lines that are kept per file. Further rejected lines are only counted."""


@dataclass
class PlayCounts:
    """Plays in one playlist or listening history.

    Parameters
    ----------
    uri, owner
        URI of the file, and the listener to whom it belongs.
    kind
        ``playlist``, or the name of a format that counts plays.
    plays
        Number of plays by track id or song id.
    entries, counts
        Entries without a match, and the number of plays of each of these entries. Both are mappings by `entry_key`.
    rejects, n_rejects
        Errors of at most 1,000 rejected lines, and the number of all rejected lines. A key of ``rejects`` is the file's
        URI, followed by ``#L`` and the line number (in a JSON array, the item number).
    """

    uri: str
    owner: ListenerTracks
    kind: str = "playlist"
    plays: Counter[str] = field(default_factory=Counter)
    entries: dict[str, Entry] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    rejects: dict[str, InputError] = field(default_factory=dict)
    n_rejects: int = 0

    @property
    def source(self) -> str:
        """Value of the ``source`` columns: kind, listener, and the file's path relative to the listener's folder."""
        path = local_path(self.uri)
        inside = path.relative_to(local_path(self.owner.folder)).parts or (path.name,)
        return f"{self.kind}:{self.owner.user_id}/{'/'.join(map(printable_name, inside))}"

    @property
    def row_count(self) -> int:
        """Sum of the number of tracks with plays and the number of entries without a match."""
        return len(self.plays) + len(self.entries)

    def match(self, matcher: Matcher) -> None:
        """Match the unmatched entries with ``matcher``. The plays of a matched entry become plays of its track."""
        for key, entry in list(self.entries.items()):
            if match := matcher.match(entry):
                self.plays[match.track_id] += self.counts.pop(key)
                del self.entries[key]


def read_play_counts(uri: str, stream: BufferedReader, owner: ListenerTracks) -> PlayCounts:
    """Read a playlist or history. If an entry's path is a file of ``owner``, its plays count for that file's track.

    Raises
    ------
    InputError
        ``unknown_format``, and the errors of the format's reader.
    """
    path = local_path(uri)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    format_ = detect(path.name, head)
    if format_ is None:
        raise InputError("unknown_format", "the file is not a known playlist or history: remove it or export it again")
    found = PlayCounts(uri, owner, kind=format_.name if format_.counts_plays else "playlist")
    for item in format_.read(stream):
        if isinstance(item, Reject):
            found.n_rejects += 1
            if len(found.rejects) < _MAX_REJECTS:
                message = f"{item.message}: {item.text!r}" if item.text else item.message
                found.rejects.setdefault(f"{uri}#L{item.line}", InputError(item.kind, message))
        elif track_id := owner.find(item.path, path.parent):
            found.plays[track_id] += item.play_count
        else:
            found.counts[entry_key(item)] += item.play_count
            found.entries.setdefault(entry_key(item), item)
    return found
