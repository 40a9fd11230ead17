"""Fitted weights of the evidence that two recordings are versions of one work.

They have the order of `reprise.lib.detect.version_evidence.SCORES`.
`reprise.jobs._shipped_models.fit_version_weights` fits them: do not edit them by hand.
"""

WEIGHTS = (-2.984, -30.91, -3.711, -6.001, -3.279)
INTERCEPT = -11.8
TYPICAL = (-1.628, -0.1712)
"""Scores ``alignment`` and ``melody`` of a pair without chroma."""
