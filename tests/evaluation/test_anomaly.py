"""Areas under ROC curves by brute force, and a model's scores against exact densities."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from cli import ROOT
from linear import DIM, SIGMA, decoder
from ml_collections import ConfigDict
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from gen_jax import config as config_lib
from gen_jax import evaluation, experiment
from gen_jax import run as run_lib
from gen_jax.data.examples import ArrayExamples, Relabelled, chosen_rows
from gen_jax.data.sources import Dataset
from gen_jax.errors import UserError
from gen_jax.evaluation import Context, anomaly, likelihood

SETTINGS = ConfigDict(
    {
        "batch_size": 32,
        "num_examples": 0,
        "elbo_samples": 100,
        "importance_samples": 100,
        "anomaly_scores": (),
    }
)


def test_area_is_the_fraction_of_pairs_with_ties_a_half():
    rng = np.random.default_rng(0)
    normal, others = rng.integers(0, 6, 40).astype(float), rng.integers(2, 9, 30).astype(float)
    pairs = [float(b > a) + 0.5 * float(b == a) for a in normal for b in others]
    area, _ = anomaly.area_under_curve(normal, others)
    assert area == pytest.approx(np.mean(pairs), abs=1e-12)
    truth = np.repeat([0, 1], [40, 30])
    assert area == pytest.approx(roc_auc_score(truth, np.concatenate([normal, others])), abs=1e-12)
    assert anomaly.area_under_curve(others, normal)[0] == pytest.approx(1 - area)
    assert anomaly.area_under_curve(normal, normal[:1])[1] is None


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_error_of_the_area_is_its_spread(shift):
    rng = np.random.default_rng(1)
    draws = [
        anomaly.area_under_curve(rng.normal(size=60), rng.normal(shift, 1, 90)) for _ in range(500)
    ]
    areas, errors = np.array(draws).T
    exact = stats.norm.cdf(shift / 2**0.5)
    assert abs(areas.mean() - exact) < 4 * areas.std() / 500**0.5
    assert errors.mean() == pytest.approx(areas.std(), rel=0.1)


def test_scores_are_the_terms_of_the_exact_density(linear):
    subject, examples, exact = linear
    scores = anomaly.scores(subject, examples, SETTINGS)
    np.testing.assert_allclose(scores["nll"], -exact, atol=0.2)
    assert abs((scores["nll"] + exact).mean()) < 0.02
    few = SETTINGS.copy_and_resolve_references()
    few.anomaly_scores = ("rate", "denoising_error")  # of which it has one
    assert list(anomaly.scores(subject, examples, few)) == ["rate"]
    few.anomaly_scores = ("denoising_error",)
    with pytest.raises(UserError, match="has none of eval"):
        anomaly.scores(subject, examples, few)
    # No reconstruction is nearer than that of least squares.
    weights, bias = decoder(subject)
    best = (
        np.linalg.lstsq(weights.T, (examples.arrays["x"] - bias).T, rcond=None)[0].T @ weights
        + bias
    )
    closest = -stats.norm(best, SIGMA).logpdf(examples.arrays["x"]).sum(1)
    assert (scores["distortion"] >= closest - 1e-3).all() and (scores["rate"] > 0).all()


def test_areas_of_a_model_are_those_of_its_exact_density(linear):
    subject, examples, exact = linear
    weights, bias = decoder(subject)
    density = stats.multivariate_normal(bias, weights.T @ weights + SIGMA**2 * np.eye(DIM))
    wide = np.random.default_rng(2).normal(bias, 1.2, (200, DIM)).astype(np.float32)
    others = ArrayExamples("wide/test", {"x": wide, "label": np.full(200, 7)})
    splits = {"test": examples, "anomalies": others}
    figures = evaluation.evaluate(
        Context(subject, Dataset("given", subject.spec, splits), "test", SETTINGS), ["auroc"]
    )
    wanted, _ = anomaly.area_under_curve(-exact, -density.logpdf(wide))
    figure = figures["auroc/nll"]
    assert 0.6 < wanted < 0.99 and figure.value == pytest.approx(wanted, abs=0.005)
    assert figure.n == 501 and 0 < figure.stderr < 0.05
    what = "data=test:301, x=real, anomalies=wide/test:200, samples=100"
    assert figure.to_json("auroc/nll")["spec"] == f"auroc/nll[{what}]"
    assert list(figures) == ["auroc/nll", "auroc/distortion", "auroc/rate"]
    nll = likelihood.nll(
        Context(subject, Dataset("given", subject.spec, splits), "test", SETTINGS)
    )["nll"]
    scores = anomaly.scores(subject, examples, SETTINGS)
    assert scores["nll"].mean() == pytest.approx(nll.value, rel=1e-6)


def test_what_it_needs(linear):
    subject, examples, _ = linear
    dataset = Dataset("given", subject.spec, {"test": examples})
    with pytest.raises(UserError, match=r"name them by --config\.data\.anomalies=DATASET"):
        anomaly.auroc(Context(subject, dataset, "test", SETTINGS))
    network = dataclasses.replace(subject.family.network, num_classes=3)
    given = dataclasses.replace(subject.family, network=network)
    dataset.splits["anomalies"] = examples
    with pytest.raises(UserError, match="given the label, which anomalies lack"):
        anomaly.auroc(
            Context(dataclasses.replace(subject, family=given), dataset, "test", SETTINGS)
        )


def test_a_model_that_learned_without_labels_is_told_none():
    config = config_lib.load_file(str(ROOT / "experiments" / "diffusion_digits.py:smoke"))
    model = ("conditional=True", "multipliers=(1,)")
    changes = ["--config.eval.anomaly_scores=('denoising_error',)"]
    config_lib.override(config, changes + [f"--config.model.{change}" for change in model])
    built = experiment.build(config)
    context = built.context(built.subject(built.init()), "test")
    params = jax.tree.map(lambda p: p + 0.1, context.subject.params)  # zeros hear no label
    subject = dataclasses.replace(context.subject, params=params)
    assert subject.given == ("label",)
    splits = dict(context.dataset.splits)
    splits["anomalies"] = Relabelled(splits["test"], 3)
    dataset = dataclasses.replace(context.dataset, splits=splits)
    figures = anomaly.auroc(dataclasses.replace(context, subject=subject, dataset=dataset))
    # Both sets are the same pictures with other labels, so that nothing tells them apart.
    assert figures["auroc/denoising_error"].value == 0.5
    assert "given" not in figures["auroc/denoising_error"].spec
    one, other = (
        anomaly.scores(subject, splits[name], context.settings)["denoising_error"]
        for name in ("test", "anomalies")
    )
    assert np.abs(one - other).max() > 1e-4, "labels are heard, and so were withheld above"
    family = dataclasses.replace(subject.family, label_dropout=0.0)
    always = dataclasses.replace(context, dataset=dataset)
    with pytest.raises(UserError, match="given the label, which anomalies lack"):
        anomaly.auroc(
            dataclasses.replace(always, subject=dataclasses.replace(subject, family=family))
        )


def test_a_run_without_anomalies_is_refused_before_it_trains(tmp_path):
    config = config_lib.load_file("experiments/quickstart.py:smoke")
    config_lib.override(config, ["--config.eval.validation_metrics=('auroc',)"])
    with pytest.raises(UserError, match=r"eval\.validation_metrics: auroc needs other data"):
        experiment.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trained_run_is_asked_for_anomalies(tmp_path):
    config = config_lib.load_file("experiments/quickstart.py:smoke")
    points = ("name=ring", "preprocess=none")
    model = ("likelihood=gaussian", "hidden=(16,)", "latent_dim=2")
    changes = [f"--config.data.{change}" for change in points]
    config_lib.override(config, changes + [f"--config.model.{change}" for change in model])
    experiment.train(config, tmp_path)
    config_lib.override(config, ["--config.data.anomalies=grid"])
    figures = experiment.evaluate(config, tmp_path, ("auroc",))
    assert figures["auroc/nll"].spec["anomalies"] == "grid/test:32"
    assert not experiment.train(config, tmp_path), "the run is the same one, and finished"


def test_the_relative_error_is_that_of_the_reconstruction():
    config = config_lib.load_file(str(ROOT / "experiments" / "vae_digits.py:smoke"))
    built = experiment.build(config)
    context = built.context(built.subject(built.init()), "test")
    found = anomaly.scores(context.subject, context.examples, context.settings)["relative_error"]
    rows = chosen_rows(context.examples, context.settings.num_examples)
    batch = context.dataset.batch("test", rows)
    x = np.float64(batch["x"])
    decoded = np.float64(context.subject.decode(context.subject.encode(batch).mean))
    expected = np.square(decoded - x).sum((1, 2, 3)) / np.square(x).sum((1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def gray(count, seed):
    rng = np.random.default_rng(seed)
    return np.uint8(rng.integers(0, 17, (count, 8, 8, 1)) * (rng.random((count, 8, 8, 1)) < 0.3))


def test_a_compressor_knows_simple_pictures():
    pictures = np.stack([np.zeros((8, 8, 1), np.uint8), *gray(2, 0)])
    nats = anomaly.compressed_nats(pictures)
    assert nats[0] < nats[1:].min()
    file = io.BytesIO()
    Image.fromarray(pictures[1, ..., 0]).save(file, "PNG", compress_level=9)
    assert nats[1] == pytest.approx(len(file.getvalue()) * 8 * np.log(2))


def trained(tmp_path, name, *changes):
    config = config_lib.load_file(f"experiments/{name}:smoke")
    config_lib.override(config, [*changes])
    experiment.train(config, tmp_path)
    return run_lib.load(tmp_path)


def test_where_an_autoregressive_model_is_surprised(tmp_path):
    run = trained(tmp_path, "made_digits.py")
    x = run.data("test", 3)["x"]
    parts = run.unusual_parts(x)
    assert parts.shape == (3, 8, 8)
    np.testing.assert_allclose(parts.sum((1, 2)), -run.log_prob(x), rtol=1e-4)
    scores = run.anomaly_scores(x)
    nats = anomaly.compressed_nats(run.spec.to_uint8(x))
    np.testing.assert_allclose(scores["likelihood_ratio"], scores["nll"] - nats, rtol=1e-5)


def test_where_a_diffusion_is_surprised(tmp_path):
    small = ("--config.model.network=transformer", "--config.model.layers=1")
    run = trained(tmp_path, "diffusion_digits.py", *small)
    x = run.data("test", 3)["x"]
    broken = x.copy()
    broken[:, 2:6, 2:6] = 1 - broken[:, 2:6, 2:6]
    more = run.unusual_parts(broken) - run.unusual_parts(x)
    assert more[:, 2:6, 2:6].mean() > more[:, :2].mean()
    assert set(run.anomaly_scores(x)) == {"nll", "likelihood_ratio", "denoising_error"}
    np.testing.assert_array_less(
        run.anomaly_scores(x)["denoising_error"], run.anomaly_scores(broken)["denoising_error"]
    )


def test_a_flow_has_no_errors_of_reconstruction(tmp_path):
    run = trained(tmp_path, "maf_mnist.py", "--config.data.name=digits")
    x = run.data("test", 3)["x"]
    assert set(run.anomaly_scores(x)) == {"nll", "likelihood_ratio"}
    with pytest.raises(UserError, match="reconstructs any picture exactly"):
        run.unusual_parts(x)


def test_typicality_is_the_distance_from_the_usual_likelihood(linear):
    subject, examples, _ = linear
    wide = np.random.default_rng(2).normal(0, 1.2, (50, DIM)).astype(np.float32)
    others = ArrayExamples("wide/test", {"x": wide, "label": np.zeros(50, np.int32)})
    splits = {"train": examples.subset("train", np.arange(100)), "test": examples}
    dataset = Dataset("given", subject.spec, {**splits, "anomalies": others})
    figures = evaluation.evaluate(Context(subject, dataset, "test", SETTINGS), ["auroc"])
    usual, own, far = (
        anomaly.scores(subject, each, SETTINGS)["nll"]
        for each in (splits["train"], examples, others)
    )
    wanted, _ = anomaly.area_under_curve(*(abs(each - usual.mean()) for each in (own, far)))
    assert figures["auroc/typicality"].value == pytest.approx(wanted)
