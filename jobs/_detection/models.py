"""Trained embedding models of tracks, with the calibrations of their distances."""

from functools import cached_property

import numpy as np

from reprise.jobs._engine.models import Model, find_model, list_models, write_artifact, write_model
from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float64Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.calibration import Calibration
from reprise.lib.detect.part_network import PartNetwork, describe_shipped_model, read_shipped_model
from reprise.lib.errors import InputError, RepriseError
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

    @property
    def is_shipped(self) -> bool:
        """Whether this is the part network of the package, which no warehouse trains."""
        return self.kind == PartNetwork.kind


def find_embedding(run: Run, model_id: str | None) -> EmbeddingModel:
    """Return the embedding model with this id.

    If ``model_id`` is None, return the model trained last, or the package's own if the warehouse has no other. The
    exceptions are those of `find_model`.
    """
    if model_id is None:
        trained = [m.model_id for m in _list_embeddings(run).values() if not m.is_shipped]
        model_id = trained[-1] if trained else None
    model = find_model(run, COVER_EMBEDDING, model_id, train_with="train-cover-index")
    return EmbeddingModel(**vars(model))


def find_indexes(run: Run, model_id: str | None) -> list[EmbeddingModel]:
    """Return the models whose embeddings are searched, in the order in which their candidates count.

    These are the model trained last, and the part network of the package if it is in the warehouse. If ``model_id`` is
    given, it is that model only. The exceptions are those of `find_model`.
    """
    first = find_embedding(run, model_id)
    if model_id is not None or first.is_shipped:
        return [first]
    shipped = [model for model in _list_embeddings(run).values() if model.is_shipped]
    return [first, *shipped[-1:]]  # a warehouse of a former version can have a former network too


def _list_embeddings(run: Run) -> dict[str, EmbeddingModel]:
    found = list_models(run.warehouse, COVER_EMBEDDING)
    return {model_id: EmbeddingModel(**vars(model)) for model_id, model in found.items()}


def register_shipped_model(run: Run) -> EmbeddingModel:
    """Copy the package's part network into the warehouse if it is not there yet, or with ``--force``. Return it."""
    shipped = describe_shipped_model()
    if shipped.model_id not in list_models(run.warehouse, COVER_EMBEDDING) or run.args.force:
        try:
            artifact, sha256 = write_artifact(run.warehouse.root, read_shipped_model(), ".safetensors")
        except InputError as error:
            raise RepriseError(str(error)) from None
        write_model(
            run,
            model_id=shipped.model_id,
            task=COVER_EMBEDDING,
            kind=PartNetwork.kind,
            params=shipped.params,
            metrics=shipped.metrics,
            artifact=artifact,
            sha256=sha256,
            trained_on=shipped.trained_on,
        )
    return find_embedding(run, shipped.model_id)
