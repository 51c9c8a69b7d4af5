"""The transformer of scikit-learn behaves as one: cloned, pickled, in a pipeline."""

import pickle

import numpy as np
import pytest

from chemscale.molecules.representation.run import embed
from tests.molecules.representation.conftest import MOLECULES

pytest.importorskip("sklearn", reason="scikit-learn is an optional dependency")


@pytest.fixture(scope="module")
def transformer(model):
    from chemscale.molecules.representation.estimator import ChemGPTEmbedding

    return ChemGPTEmbedding(model, device="cpu")


def test_its_vectors_are_those_of_embed(transformer, model):
    vectors = transformer.fit_transform(np.array(MOLECULES))
    np.testing.assert_array_equal(vectors, embed(model, MOLECULES).matrix())
    assert list(transformer.get_feature_names_out()[:2]) == ["e0", "e1"]


def test_it_is_a_step_of_a_pipeline_that_can_be_cloned_and_pickled(transformer):
    from sklearn.base import clone
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    heavy = [float(len(text)) for text in MOLECULES]
    pipeline = clone(make_pipeline(transformer, Ridge(1e-3))).fit(MOLECULES, heavy)
    assert np.corrcoef(pipeline.predict(MOLECULES), heavy)[0, 1] > 0.9
    content = pickle.dumps(pipeline)
    assert len(content) < 20_000  # the path, not the weights
    np.testing.assert_array_equal(pickle.loads(content).predict(MOLECULES), pipeline.predict(MOLECULES))


def test_a_molecule_that_cannot_be_read_is_named_or_nan(transformer):
    from sklearn.base import clone

    with pytest.raises(ValueError, match=r"Molecule 1 \('not'\).*unparsable"):
        transformer.transform(["CCO", "not"])
    lenient = clone(transformer).set_params(unreadable="nan").fit([])
    assert np.isnan(lenient.transform(["CCO", "not"])).all(1).tolist() == [False, True]
    with pytest.raises(ValueError, match="raise or nan"):
        clone(transformer).set_params(unreadable="zero").fit([])
