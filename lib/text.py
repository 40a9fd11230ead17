"""Names that the plots and the printed tables share."""

PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
"""Names of the pitch classes 0 to 11, and of the keys 0 to 11."""
