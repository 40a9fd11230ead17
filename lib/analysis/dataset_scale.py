"""Fitted numbers that scale timbre and confidences of the analysis to those of the Million Song Dataset.

`reprise.jobs._shipped_models.fit_analysis_scale` fits them to recordings: do not edit them by hand.
"""

import numpy as np

# quantiles of the measured values, and the same quantiles in the dataset
CONFIDENCES = {
    "key_confidence": (
        (0, 0.212991, 0.250968, 0.297767, 0.399696, 0.464526, 0.548849, 0.657952, 0.72448, 0.79912, 0.857446, 1),
        (0, 0.007, 0.119, 0.246, 0.346, 0.441, 0.509, 0.58, 0.661, 0.744, 0.883, 1),
    ),
    "mode_confidence": (
        (0, 0.291276, 0.597897, 0.691414, 0.797953, 0.877827, 0.955434, 0.985843, 0.992564, 0.997818, 0.999756, 1),
        (0, 0.184, 0.305, 0.392, 0.427, 0.477, 0.524, 0.561, 0.601, 0.663, 0.772, 1),
    ),
    "time_signature_confidence": (
        (0, 0.414621, 0.646649, 0.695326, 0.732927, 0.764575, 0.829847, 0.85208, 0.879144, 0.933961, 0.964369, 1),
        (0, 0, 0, 0.163, 0.37, 0.567, 0.653, 0.768, 0.875, 1, 1, 1),
    ),
    "segments_confidence": (
        (0, 0.396319, 0.486284, 0.5564, 0.617933, 0.674185, 0.723521, 0.769327, 0.81142, 0.853708, 0.917634, 1),
        (0, 0.062, 0.184, 0.296, 0.401, 0.5, 0.6, 0.7, 0.805, 0.928, 1, 1),
    ),
}
TIMBRE_FACTORS = np.array([1, 33.2, 38.22, 52.42, 33.53, 93.46, 33.32, 30.1, 77.61, 35.17, 25.91, 78.1])
TIMBRE_OFFSETS = np.array([0, 146.8, 13.3, 43.97, 41.35, 7.537, -0.2768, 13.06, -1.64, -9.347, -3.385, -5.093])
