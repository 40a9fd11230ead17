"""Fitted numbers that scale timbre and confidences of the analysis to those of the Million Song Dataset.

`reprise.jobs._shipped_models.fit_analysis_scale` fits them to recordings: do not edit them by hand.
"""

import numpy as np

# quantiles of the measured values, and the same quantiles in the dataset
CONFIDENCES = {
    "key_confidence": (
        (0, 0.211764, 0.269795, 0.352901, 0.418356, 0.452899, 0.556996, 0.653844, 0.728764, 0.795157, 0.868721, 1),
        (0, 0.007, 0.119, 0.246, 0.346, 0.441, 0.509, 0.58, 0.661, 0.744, 0.883, 1),
    ),
    "mode_confidence": (
        (0, 0.186008, 0.562806, 0.661516, 0.828878, 0.877512, 0.95797, 0.984413, 0.992679, 0.998053, 0.999852, 1),
        (0, 0.184, 0.305, 0.392, 0.427, 0.477, 0.524, 0.561, 0.601, 0.663, 0.772, 1),
    ),
    "time_signature_confidence": (
        (0, 0.501225, 0.662048, 0.708652, 0.741505, 0.769347, 0.836535, 0.866539, 0.901072, 0.94712, 0.968242, 1),
        (0, 0, 0, 0.163, 0.37, 0.567, 0.653, 0.768, 0.875, 1, 1, 1),
    ),
    "segments_confidence": (
        (0, 0.396319, 0.486284, 0.5564, 0.617933, 0.674185, 0.723521, 0.769327, 0.81142, 0.853708, 0.917634, 1),
        (0, 0.062, 0.184, 0.296, 0.401, 0.5, 0.6, 0.7, 0.805, 0.928, 1, 1),
    ),
}
TIMBRE_FACTORS = np.array([1, 33.2, 38.22, 52.42, 33.53, 93.46, 33.32, 30.1, 77.61, 35.17, 25.91, 78.1])
TIMBRE_OFFSETS = np.array([0, 146.8, 13.3, 43.97, 41.35, 7.537, -0.2768, 13.06, -1.64, -9.347, -3.385, -5.093])
