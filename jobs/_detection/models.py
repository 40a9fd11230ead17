"""Trained embedding models of tracks, with the calibrations of their distances."""

from functools import cached_property

import numpy as np

from reprise.jobs._engine.models import Model, find_model
from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float64Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.calibration import Calibration
from reprise.lib.tables.operations import COVER_EMBEDDING

NO_RERANKER = "none"
MEASURES = (*RERANKERS, NO_RERANKER)
"""Distance measures that can rank candidates: the embedding distance, and one for each alignment."""


class EmbeddingModel(Model):
    """An embedding model in ``models``, with its calibrations by measure."""

    @cached_property
    def calibrations(self) -> dict[str, Calibration]:
        """Calibrations by measure. A measure that could not be calibrated is missing."""
        return {
            measure: Calibration(tuple(fit["weights"]), fit["intercept"])
            for measure, fit in self.metrics.get("calibration", {}).items()
        }

    def probability(self, measure: str, distances: Float64Array) -> Float64Array:
        """For each distance (n,) of two tracks, return the probability (n,) that they are versions of one work.

        The probabilities are NaN if ``measure`` is not calibrated.
        """
        calibration = self.calibrations.get(measure)
        if calibration is None:
            return np.full(len(distances), np.nan)
        return calibration.probability(distances)


def find_embedding(run: Run, model_id: str | None) -> EmbeddingModel:
    """Return the embedding model with this id. If ``model_id`` is None, return the model trained last.

    The exceptions are those of `find_model`.
    """
    model = find_model(run, COVER_EMBEDDING, model_id, train_with="train-cover-index")
    return EmbeddingModel(**vars(model))
