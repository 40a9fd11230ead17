"""Names and formats that the plots and the printed tables share."""

PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
"""Names of the pitch classes 0 to 11, and of the keys 0 to 11."""


def make_printable(text: str) -> str:
    """Replace unprintable characters by U+FFFD.

    Text of tags and names comes from input files. Control characters in it could move the terminal's cursor.
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def format_time(time_s: float) -> str:
    """Return a time in s as m:ss, or as h:mm:ss from one hour on."""
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
