"""Table of the tags of tracks."""

from collections.abc import Mapping

from reprise.lib.tables.contract import RUN_ID, Column, Table, key

_NAMES = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock"),
    *("jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "mellow"),
    *("electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient"),
    *("acoustic", "experimental", "female vocalist", "guitar", "hip hop", "70s", "party", "country", "easy listening"),
    *("sexy", "catchy", "funk", "electro", "heavy metal", "progressive rock", "60s", "rnb", "indie pop", "sad"),
    *("house", "happy"),
)


def _to_column(tag: str) -> str:
    """Return the name of a tag's column. A name that starts with a digit would need quotes in SQL."""
    name = tag.replace(" ", "_")
    return f"from_{name}" if name[0].isdigit() else name


TAGS: Mapping[str, str] = {_to_column(tag): tag for tag in _NAMES}
"""The 50 tags of MSD_musicnn by column name, in the order of the network's output."""

TRACK_TAGS = Table(
    name="track_tags",
    doc="Probabilities of 50 tags of listeners: genres, moods, instruments, decades; for tracks and 3 s windows.",
    grain="one track, or one window of a track, by one tagging model",
    key=("track_id", "model_id", "window"),
    checks={"window_known": "window >= -1"},
    columns=(
        key("track_id", "library track id"),
        key("model_id", "model that predicted the tags: a row of models"),
        key("window", "window of 2.992 s, counted from 0; -1 for the whole track", "int"),
        Column("start_s", "float", "start of the window in s", nullable=False),
        Column("length_s", "float", "length of the window or track in s", nullable=False),
        Column("sha256", "string", "SHA-256 of the audio file", nullable=False),
        RUN_ID,
        *(
            Column(column, "float", f"probability of the tag {tag}; for the whole track, mean over windows", False)
            for column, tag in TAGS.items()
        ),
    ),
)
