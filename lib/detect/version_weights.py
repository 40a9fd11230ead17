"""Fitted weights of the evidence that two recordings are versions of one work.

They have the order of `reprise.lib.detect.version_evidence.SCORES`.
`reprise.jobs._shipped_models.fit_version_weights` fits them: do not edit them by hand.
"""

WEIGHTS = (-2.935, -29.17, -3.992, -4.714, -5.645, -4.113)
INTERCEPT = -11.49
TYPICAL = (-1.626, -0.1752)
"""Scores ``alignment`` and ``melody`` of a pair without chroma."""
