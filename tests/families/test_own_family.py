"""A family and a metric of one's own, in this file alone, get all that the others have."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gen_jax
from gen_jax import config as config_lib
from gen_jax import evaluation, families
from gen_jax import keys as keys_lib
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation.metric import Metric, metric
from gen_jax.families import requirements
from gen_jax.families.alarms import Alarm, Rule
from gen_jax.families.base import TEMPERATURE, Density, FamilyDefinition, LogProb
from gen_jax.families.requirements import Requirement, Values
from gen_jax.report import html, results
from gen_jax.settings import Setting
from gen_jax.training import replicas
from gen_jax.workdir.logs import read_metrics

# The family


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """One Gaussian of independent dimensions, trained by its exact likelihood.

    Attributes:
      spec: the data.
      pull: weight of a pull of the mean to 0.
      count_steps: whether `extra` holds the number of steps.
    """

    spec: DataSpec
    pull: float
    count_steps: bool

    turns = (("gaussian",),)
    given = ()

    def init(self, key, batch):
        zeros = jnp.zeros(self.spec.shape)
        extra = {"steps": jnp.int32(0)} if self.count_steps else {}
        return {"gaussian": {"mean": zeros, "log_sigma": zeros}}, extra

    def losses(self, turn, params, extra, batch, keys, step):
        nll = -self.log_prob(params, extra, batch, keys).value.mean()
        pulled = self.pull * jnp.square(params["gaussian"]["mean"]).sum()
        extra = jax.tree.map(lambda count: count + 1, extra)
        sigma = jnp.exp(params["gaussian"]["log_sigma"]).mean()
        return {"gaussian": nll + pulled}, extra, {"nll": nll, "sigma": sigma}

    def log_prob(self, params, extra, batch, keys):
        mean, log_sigma = params["gaussian"]["mean"], params["gaussian"]["log_sigma"]
        terms = jax.scipy.stats.norm.logpdf(batch["x"], mean, jnp.exp(log_sigma))
        return LogProb(terms.reshape(len(terms), -1).sum(1))

    def sample(self, params, extra, keys, condition, options):
        mean, log_sigma = params["gaussian"]["mean"], params["gaussian"]["log_sigma"]
        noise = options["temperature"] * keys_lib.normal(keys, self.spec.shape)
        return mean + jnp.exp(log_sigma) * noise


REAL = Values("real data", lambda spec: spec.kind == "real", None)


def build(model, spec):
    requirements.check(model, spec, [Requirement({}, {"data": REAL}, "it is a density")])
    return Gaussian(spec, model.pull, model.count_steps)


def narrow(row):
    if row["sigma"] > 0.5:
        return None
    return Alarm("narrow", f"sigma is {row['sigma']:.2f}", "try --config.model.pull=0")


DEFINITION = FamilyDefinition(
    name="toy_gaussian",
    models=(Gaussian,),
    build=build,
    settings={
        "pull": Setting(0.0, "weight of a pull of the mean to 0", per_replica=True),
        "count_steps": Setting(True, "whether the steps are counted"),
    },
    sample_options={"temperature": TEMPERATURE},
    validation_metrics=("nll",),
    metrics=("nll", "toy_distance"),
    alarms=(Rule(("sigma",), narrow),),
)
TOY_DRAWS = {"toy_draws": Setting(500, "samples behind it", minimum=2, smoke=50, affects="figures")}


def toy_distance(context):
    """The distance of the samples' mean from the data's."""
    num = context.settings.toy_draws
    x = context.subject.sample(num)
    data = context.examples.gather(np.arange(len(context.examples)))["x"]
    value = float(np.linalg.norm(x.mean(0) - data.mean(0)))
    spec = {"data": f"{context.split}:{len(data)}", "samples": num}
    return {"toy_distance": Metric(value, None, "distance", "estimate", num, spec)}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Known for this module's tests, and unknown after them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "_registered", dict(families._registered))
        known = evaluation.metric._registered
        patch.setattr(evaluation.metric, "_registered", dict(known))
        families.register(DEFINITION)
        metric("toy_distance", settings=TOY_DRAWS, lower_is_better=("toy_distance",))(toy_distance)
        yield


# What it gets


def points(num=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal((2.0, -1.0), (0.3, 0.4), (num, 2)))


@pytest.fixture(scope="module")
def config():
    config = config_lib.default_config("toy_gaussian")
    config.steps, config.batch_size, config.steps_per_dispatch = 400, 20, 20
    config.log_every = config.eval_every = config.checkpoint_every = 200
    config.data.preprocess, config.data.num_validation = "none", 40
    config.optim.lr, config.optim.schedule = 0.05, "cosine"
    return config.lock()


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("own") / "run"
    return gen_jax.fit(config, workdir=workdir, arrays={"x": points()})


def test_config_keys_with_their_defaults_and_bounds(config):
    assert config.model.count_steps and config.eval.toy_draws == 500
    assert config.eval.validation_metrics == ("nll",)
    assert config.eval.metrics == ("nll", "toy_distance")
    assert config.sample.temperature == 1
    changed = config.copy_and_resolve_references()
    with pytest.raises(UserError, match=r"'model.pul'; did you mean --config.model.pull\?"):
        config_lib.override(changed, ["--config.model.pul=1"])
    changed.eval.toy_draws = 1
    with pytest.raises(UserError, match=r"eval\.toy_draws=1 must be at least 2"):
        config_lib.check(changed)
    smoke = config.copy_and_resolve_references()
    config_lib.settings_lib.shrink(smoke, config_lib.sections("toy_gaussian"))
    assert (smoke.eval.toy_draws, smoke.steps) == (50, 20)


def test_training_evaluation_and_exact_likelihoods(run):
    fitted = run.subject.params["gaussian"]
    np.testing.assert_allclose(fitted["mean"], (2, -1), atol=0.15)
    x = points(seed=1)
    sigma = np.exp(fitted["log_sigma"])
    by_hand = stats.norm(fitted["mean"], sigma).logpdf(x).sum(1)
    np.testing.assert_allclose(run.log_prob(x), by_hand, rtol=1e-4, atol=1e-5)
    figures = run.evaluate()
    assert figures["nll"].kind == "exact" and figures["toy_distance"].value < 0.3
    assert "importance_samples" not in figures["nll"].spec
    test = run.experiment.dataset.splits["test"].arrays["x"]
    assert figures["nll"].value == pytest.approx(-run.log_prob(test).mean(), rel=1e-5)
    assert evaluation.lower_is_better("toy_distance")


def test_samples_and_options(run):
    x = run.sample(3_000)
    np.testing.assert_allclose(x.mean(0), (2, -1), atol=0.15)
    cold = run.sample(5, temperature=0.0)
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape))
    with pytest.raises(UserError, match="no option 'top_k' of sampling; valid are: batch_size, te"):
        run.sample(5, top_k=3)


def test_alarms_in_the_log_and_the_report(run):
    rows = [row for row in read_metrics(run.workdir) if "alarms" in row]
    assert [alarm.kind for alarm in rows[-1]["alarms"]] == ["narrow"]
    assert "narrow: sigma is 0." in html.write_report(run.workdir).read_text()
    assert json.loads((run.workdir / "config.json").read_text())["family"] == "toy_gaussian"


def test_replicas_with_values_of_their_own(config, tmp_path):
    assert "model.pull" in replicas.keys("toy_gaussian")
    several = gen_jax.fit(
        config,
        workdir=tmp_path,
        arrays={"x": points()},
        num_replicas=2,
        replica_values=(("model.pull", (0.0, 100.0)),),
    )
    free, pulled = (gen_jax.load(tmp_path, r).subject.params["gaussian"]["mean"] for r in (0, 1))
    assert np.abs(free).min() > 0.8 and np.abs(pulled).max() < 0.1
    assert int(several.subject.extra["steps"]) == config.steps


def test_a_row_of_results_knows_which_seed_is_worst():
    figure = Metric.over_seeds([Metric(v, 0.1, "", "exact", 9, {}) for v in (1.0, 2.0)], (0, 1))
    assert results._worst("toy_distance", figure) == 2.0


def test_refusals_say_who_has_it(run):
    with pytest.raises(UserError, match=r"mse needs .*encode.* Gaussian lacks; .*VAE"):
        run.evaluate("mse")
    vae = families.build("vae", families.default_model("vae"), DataSpec("binary", (2,), levels=2))
    with pytest.raises(UserError, match=r"it needs log_prob, which VAE lacks; .*, Gaussian"):
        families.require(vae, "it", Density)
    with pytest.raises(UserError, match="this model needs real data and the data are binary"):
        families.build(
            "toy_gaussian",
            families.default_model("toy_gaussian"),
            DataSpec("binary", (2,), levels=2),
        )
