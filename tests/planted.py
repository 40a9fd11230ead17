"""Print a recording of a composed sample whose work no cover index was trained on, then its versions in the dataset."""

import csv
import sys
from pathlib import Path


def read_cliques(path: Path) -> list[list[str]]:
    """Track ids of each clique of a SecondHandSongs list."""
    cliques: list[list[str]] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("%"):
            cliques.append([])
        elif line.startswith("TR"):
            cliques[-1].append(line[:18])
    return cliques


def find_planted(annotations: Path) -> list[str]:
    """Library id of the first recording in the test list's order, then the ids of its versions that are no recordings.

    LookupError when the test list names no recording.
    """
    with (annotations / "truth_audio.csv").open(encoding="utf-8", newline="") as stream:
        recordings = {row["track_id"]: row["library_id"] for row in csv.DictReader(stream)}
    for clique in read_cliques(annotations / "shs_dataset_test.txt"):
        for track_id in clique:
            if track_id in recordings:
                return [recordings[track_id], *(other for other in clique if other not in recordings)]
    raise LookupError("the test list names no recording: compose more of them")


if __name__ == "__main__":
    try:
        print(*find_planted(Path(sys.argv[1])))
    except (LookupError, OSError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
