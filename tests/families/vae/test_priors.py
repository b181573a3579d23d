"""Priors and stochastic layers, against numpy and a linear Gaussian hierarchy."""

import functools

import cli
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import sample
from scipy import special, stats

import gen_jax
from gen_jax import families, keys
from gen_jax.data.spec import DataSpec
from gen_jax.errors import UserError
from gen_jax.evaluation import likelihood
from gen_jax.families.vae import family as family_lib
from gen_jax.families.vae import priors

RNG = np.random.default_rng(0)


def mixture_density(z, mean, log_variance):
    """In float64, by scipy."""
    terms = [
        stats.multivariate_normal(m, np.diag(np.exp(v))).logpdf(z)
        for m, v in zip(mean, log_variance, strict=True)
    ]
    return special.logsumexp(terms, 0) - np.log(len(mean))


def test_mixture_density_by_hand():
    shapes = (5, 3), (4, 3), (4, 3)
    arguments = [np.float32(RNG.normal(size=shape)) for shape in shapes]
    np.testing.assert_allclose(priors.log_prob(*arguments), mixture_density(*arguments), rtol=1e-5)


def test_a_narrow_mixture_far_from_the_origin_keeps_its_digits():
    mean = np.float32(100 + RNG.normal(size=(50, 40)))
    log_variance = np.float32(RNG.normal(size=mean.shape) - 4)
    z = np.float32(mean + np.exp(log_variance / 2) * RNG.normal(size=mean.shape))
    arguments = z, mean, log_variance
    np.testing.assert_allclose(priors.log_prob(*arguments), mixture_density(*arguments), atol=5e-3)


def test_mixture_samples_have_its_moments():
    mean, log_variance = np.array([[-3.0, 0.0], [3.0, 1.0]]), np.log([[0.25, 1.0], [0.25, 4.0]])
    each = keys.per_example(keys.stream(0, "x"), jnp.arange(20_000))
    z = np.asarray(priors.sample(each, jnp.float32(mean), jnp.float32(log_variance), 1.0))
    left = z[:, 0] < 0
    assert left.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(z[left].std(0), [0.5, 1.0], rtol=0.03)
    np.testing.assert_allclose(z[~left].std(0), [0.5, 2.0], rtol=0.03)
    cold = np.asarray(priors.sample(each[:50], jnp.float32(mean), jnp.float32(log_variance), 0.0))
    assert {tuple(row) for row in cold} == {tuple(row) for row in mean}


SPEC = DataSpec("binary", (4, 4, 1), levels=2, num_classes=3)


def build(spec=SPEC, **changes):
    model = families.default_model("vae")
    model.update(hidden=(8,), latent_dim=2, upper_hidden=(6,), prior_components=5)
    model.update(prior_neighbours=4)
    model.update(**changes)
    return families.build("vae", model, spec)


def batch(spec=SPEC, size=6):
    x = RNG.integers(0, 2, (size, *spec.shape)).astype(np.float32)
    return {"x": jnp.asarray(x), "label": jnp.arange(size) % max(spec.num_classes, 1)}


EACH = keys.per_example(keys.stream(0, "test"), jnp.arange(6))


@pytest.mark.parametrize(
    ("prior", "upper"),
    [
        *[("mixture", ()), ("vamp", (3,)), ("label", ()), ("standard_normal", (3, 2))],
        *[("flow", ()), ("flow", (2,)), ("exemplars", ()), ("exemplars", (3,))],
    ],
)
def test_every_prior_on_every_number_of_layers(prior, upper):
    family, given = build(prior=prior, upper_latent_dims=upper), batch()
    params, extra = family.init(jax.random.key(0), given)
    terms = jax.jit(lambda p: family.log_weights(p, extra, given, EACH, 4))(params)
    assert terms.log_likelihood.shape == terms.log_ratio.shape == (4, 6)
    draw = jax.jit(lambda p: sample(family, p, extra, jax.random.key(1), 3, jnp.arange(3)))
    assert draw(params).shape == (3, 4, 4, 1)
    loss = lambda p: family.losses(("vae",), p, extra, given, EACH, jnp.int32(0))[0]["vae"]  # noqa: E731
    # Off its start, where a flow's last layers are 0.
    move = lambda leaf: leaf + 0.01 * jnp.float32(RNG.normal(size=leaf.shape))  # noqa: E731
    grads = jax.jit(jax.grad(loss))(jax.tree.map(move, params))
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all() and (grad != 0).any(), jax.tree_util.keystr(path)


def test_a_vamp_priors_components_are_the_posteriors_of_its_inputs():
    family, given = build(prior="vamp"), batch()
    params, extra = family.init(jax.random.key(0), given)
    inputs = params["vae"]["top"]["inputs"]
    np.testing.assert_array_equal(inputs, given["x"][:5])
    of_inputs = {"x": inputs, "label": jnp.zeros(5, jnp.int32)}
    mean, log_variance = family.encode(params, extra, of_inputs)
    z = jnp.float32(RNG.normal(size=(7, 2)))
    found = family._apply("log_prior", params, extra, [z], jnp.zeros(7, jnp.int32))[0]
    np.testing.assert_allclose(found, priors.log_prob(z, mean, log_variance), rtol=1e-5)


def moved(params):
    return jax.tree.map(lambda p: p + 0.3 * jnp.float32(RNG.normal(size=p.shape)), params)


def posterior_draws(family, params, extra, given, num):
    """Draws of all layers, as training has them."""
    each = keys.named(EACH, "posterior")
    return family._posterior_samples(params, extra, given, each, num)


@pytest.mark.parametrize("changes", [{}, {"upper_latent_dims": (3,)}, {"top_down": True}])
def test_an_exemplar_prior_leaves_out_the_example_that_trains(changes):
    if "top_down" in changes:
        changes |= {"upper_latent_dims": (3,), "hidden": (8, 7)}
    family, given = build(prior="exemplars", **changes), batch()
    params, extra = family.init(jax.random.key(0), given)
    np.testing.assert_array_equal(extra["exemplars"], given["x"][:5])
    params = moved(params)
    params["vae"]["top"]["log_variance"] = jnp.float32(-0.7)
    z = np.float64(posterior_draws(family, params, extra, given, 2)[-1])
    fresh = np.float64(family._apply("top_mean", params, {}, given["x"][:5]))
    # Examples 2, 0 and 4 are exemplars, 5 and more are none.
    index = np.array([2, 0, 5, 9, 4, 7])
    expected = np.zeros((2, 6))
    for draw in range(2):
        for row, own in enumerate(index):
            means = np.delete(fresh, own, 0) if own < 5 else fresh
            variances = np.full_like(means, -0.7)
            whole = mixture_density(z[draw, row], means, variances)
            # Four neighbours are all the others of an exemplar, and all but one of five.
            distance = np.square(np.float64(extra["means"]["top"]["mean"]) - z[draw, row]).sum(-1)
            far = distance.argmax() if own >= 5 else None
            kept = means if far is None else np.delete(means, far, 0)
            expected[draw, row] = whole
            if far is not None:
                near = mixture_density(z[draw, row], kept, variances[:4]) + np.log(4 / 5)
                assert near <= whole
                expected[draw, row] = near
    trained = given | {"index": jnp.asarray(index)}
    latents = posterior_draws(family, params, extra, given, 2)
    found = family._log_weights(params, extra, trained, latents)
    known = family._log_weights(params, extra, given, latents)
    log_q = family._apply("log_posterior", params, extra, given["x"], given["label"], latents)
    np.testing.assert_allclose(found.log_ratios[-1] + log_q[-1], expected, rtol=2e-4)
    # Elsewhere the mixture is of all, by the means that are kept.
    kept = np.float64(extra["means"]["top"]["mean"])
    plain = mixture_density(z.reshape(12, -1), kept, np.full_like(kept, -0.7)).reshape(2, 6)
    np.testing.assert_allclose(known.log_ratios[-1] + log_q[-1], plain, rtol=2e-4)


def test_what_is_kept_of_exemplars_is_made_anew_in_turn(monkeypatch):
    monkeypatch.setattr(family_lib, "REFRESHED_WITHIN", 3)  # two of five a step
    family, given = build(prior="exemplars"), batch()
    params, extra = family.init(jax.random.key(0), given)
    params = moved(params)
    fresh = np.asarray(family._apply("top_mean", params, {}, given["x"][:5]))
    start = np.asarray(extra["means"]["top"]["mean"])
    given["index"] = jnp.arange(6)
    losses = jax.jit(functools.partial(family.losses, ("vae",)))
    for step, new in enumerate([{0, 1}, {0, 1, 2, 3}, {0, 1, 2, 3, 4}]):
        _, extra, _ = losses(params, extra, given, EACH, jnp.int32(step))
        found = np.asarray(extra["means"]["top"]["mean"])
        for row in range(5):
            np.testing.assert_allclose(found[row], (fresh if row in new else start)[row], atol=1e-5)


def test_a_loss_of_exemplars_moves_the_encoder_through_them():
    family, given = build(prior="exemplars"), batch()
    params, extra = family.init(jax.random.key(0), given)
    given["index"] = jnp.arange(6)
    latents = jax.lax.stop_gradient(posterior_draws(family, params, extra, given, 1))

    def prior(params):
        return family._log_prior(params, extra, given, latents)[-1].sum()

    grads = jax.grad(prior)(params)["vae"]
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(grads["encoder"]))
    assert float(grads["top"]["log_variance"]) != 0


def test_exemplars_that_are_not_there_are_refused():
    with pytest.raises(UserError, match=r"prior_neighbours=4 or fewer"):
        build(prior="exemplars", prior_neighbours=5)
    family = build(prior="exemplars", prior_components=7)
    with pytest.raises(UserError, match=r"have 6, and not 7; use .*prior_components=6"):
        family.init(jax.random.key(0), batch())
    with pytest.raises(UserError, match="conditional=False"):
        build(prior="exemplars", conditional=True)


def test_a_run_trains_with_exemplars_of_its_data(tmp_path, monkeypatch):
    left_out = []

    def nearest(z, means, own, count):
        jax.debug.callback(left_out.append, own)
        return plain(z, means, own, count)

    plain = priors.nearest
    monkeypatch.setattr(priors, "nearest", nearest)
    x = (RNG.random((1_300, 4, 4)) < 0.5).astype(np.uint8) * 255
    changes = {"prior": "exemplars", "prior_components": 1_050, "hidden": (8,), "latent_dim": 2}
    run = gen_jax.fit(
        str(cli.ROOT / "experiments" / "vae_digits.py:smoke"),
        workdir=tmp_path / "run",
        arrays={"x": x},
        **{f"model.{name}": value for name, value in changes.items()},
        **{"data.num_validation": 100, "steps": 4, "batch_size": 16, "eval.metrics": ("elbo",)},
        **{"steps_per_dispatch": 2, "log_every": 2, "eval_every": 4, "checkpoint_every": 4},
    )
    jax.effects_barrier()
    seen = np.concatenate(left_out)
    # No example twice in four steps of sixteen, of a thousand.
    assert len(seen) == len(set(seen.tolist())) == 64 and seen.max() < 1_070
    extra = run.subject.extra
    first = run.experiment.dataset.batch("train", np.arange(1_050))["x"]
    np.testing.assert_array_equal(extra["exemplars"], first)
    assert run.sample(3).shape == (3, 4, 4, 1)
    assert np.isfinite(run.evaluate("elbo")["elbo"].value)


def test_a_label_prior_is_of_its_label():
    family, given = build(prior="label"), batch()
    params, extra = family.init(jax.random.key(0), given)
    kernel = RNG.normal(size=(3, 4)).astype(np.float32)
    params["vae"]["top"]["parameters"]["kernel"] = jnp.asarray(kernel)
    z = RNG.normal(size=(3, 2)).astype(np.float32)
    found = family._apply("log_prior", params, extra, [jnp.asarray(z)], jnp.arange(3))[0]
    expected = stats.norm.logpdf(z, kernel[:, :2], np.exp(kernel[:, 2:] / 2)).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert family.given == ("label",)


def test_a_flow_prior_has_density_one_and_its_samples_follow_it():
    family, given = build(prior="flow", prior_flow_steps=2, prior_flow_hidden=(6,)), batch()
    params, extra = family.init(jax.random.key(0), given)
    shift = lambda leaf: leaf + 0.15 * jnp.float32(RNG.normal(size=leaf.shape))  # noqa: E731
    params["vae"]["top"] = jax.tree.map(shift, params["vae"]["top"])
    side = np.linspace(-15, 15, 601)
    z = jnp.float32(np.stack(np.meshgrid(side, side, indexing="ij"), -1))  # [601, 601, 2]
    log_prior = jax.jit(lambda z: family._apply("log_prior", params, extra, [z], jnp.zeros(601))[0])
    density = np.exp(np.float64(log_prior(z))) * 0.05**2
    assert density.sum() == pytest.approx(1, abs=0.005)
    each = keys.per_example(keys.stream(0, "x"), jnp.arange(20_000))
    label = jnp.zeros(20_000, jnp.int32)
    drawn = np.asarray(family._apply("sample_prior", params, extra, each, label, 1.0))
    moments = [np.tensordot(density, np.asarray(z) ** power, 2) for power in (1, 2)]
    for power, moment in enumerate(moments, 1):
        error = (drawn**power).std(0) / 20_000**0.5
        assert (np.abs((drawn**power).mean(0) - moment) < 5 * error + 0.005).all()
    assert np.abs(moments[0]).max() > 0.1  # it is not the standard normal that it starts near
    cold = np.asarray(family._apply("sample_prior", params, extra, each[:9], label[:9], 0.0))
    assert (np.abs(cold - cold[0]) < 1e-5).all()


def test_two_linear_layers_reach_their_exact_likelihood():
    """z2 ~ N(0, 1), z1 = A z2 + s e, x = W z1 + sigma e': x is Gaussian and known."""
    spec, sigma, spread = DataSpec("real", (3,)), 0.5, 0.8
    family = build(
        spec,
        **{"hidden": (), "upper_hidden": (), "upper_latent_dims": (1,), "likelihood": "gaussian"},
        **{"sigma": sigma, "estimator": "standard"},
    )
    rng = np.random.default_rng(0)
    given = {"x": jnp.float32(rng.normal(size=(200, 3))), "label": jnp.zeros(200, jnp.int32)}
    params, extra = family.init(jax.random.key(0), given)
    a, w = np.array([[1.1, -0.6]]), rng.normal(size=(2, 3)) * 0.7
    net = params["vae"]
    net["decoder"]["output"] = {"kernel": jnp.float32(w), "bias": jnp.zeros(3)}
    net["downward_0"]["output"] = {
        "kernel": jnp.float32(np.concatenate([a, np.zeros((1, 2))], 1)),
        "bias": jnp.float32([0, 0, np.log(spread), np.log(spread)]),
    }
    below = a.T @ a + spread**2 * np.eye(2)  # covariance of z1
    cov = w.T @ below @ w + sigma**2 * np.eye(3)
    # q(z1|x) has the exact mean and a wider, diagonal covariance: samples must close the bound.
    gain = below @ w @ np.linalg.inv(cov)
    spreads = np.diag(below - gain @ w.T @ below)
    net["posterior"] = {
        "kernel": jnp.float32(np.concatenate([gain.T, np.zeros((3, 2))], 1)),
        "bias": jnp.float32(np.concatenate([np.zeros(2), 0.5 * np.log(1.5 * spreads)])),
    }
    x = stats.multivariate_normal(np.zeros(3), cov).rvs(200, random_state=0)
    given["x"] = jnp.float32(x)
    exact = stats.multivariate_normal(np.zeros(3), cov).logpdf(x)
    each = keys.per_example(keys.stream(0, "test"), jnp.arange(200))
    found = []
    for samples in (1, 50, 5_000):
        terms = likelihood.log_mean_exp(
            lambda k, n: family.log_weights(params, extra, given, k, n), each, samples, 500
        )
        found.append(np.asarray(terms["bound"]))
    assert found[0].mean() < found[1].mean() < exact.mean() + 0.01
    np.testing.assert_allclose(found[2].mean(), exact.mean(), atol=0.05)


def test_samples_of_two_linear_layers_have_the_exact_covariance():
    spec = DataSpec("real", (3,))
    family = build(
        spec,
        **{"hidden": (), "upper_hidden": (), "upper_latent_dims": (1,), "likelihood": "gaussian"},
        sigma=0.5,
    )
    params, extra = family.init(
        jax.random.key(0), {"x": jnp.zeros((1, 3)), "label": jnp.zeros(1, jnp.int32)}
    )
    net = params["vae"]
    a, w = np.array([[1.1, -0.6]]), np.array([[1.0, 0.5, -1.0], [0.3, -0.8, 0.2]])
    net["decoder"]["output"] = {"kernel": jnp.float32(w), "bias": jnp.zeros(3)}
    net["downward_0"]["output"] = {
        "kernel": jnp.float32(np.concatenate([a, np.zeros((1, 2))], 1)),
        "bias": jnp.float32([0, 0, np.log(0.8), np.log(0.8)]),
    }
    x = np.asarray(sample(family, params, extra, jax.random.key(5), 40_000))  # means of p(x|z)
    expected = w.T @ (a.T @ a + 0.64 * np.eye(2)) @ w
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.05)


@pytest.mark.parametrize("width", [8, 16])
def test_narrow_layers_start_finite(width):
    """Draws of one layer that are large make those of the next larger still, without bounds."""
    spec = DataSpec("binary", (28, 28, 1), levels=2)
    family, given = (
        build(
            spec,
            **{"hidden": (32,), "latent_dim": 64, "upper_latent_dims": (32, 16)},
            **{"upper_hidden": (width,), "activation": "gelu"},
        ),
        batch(spec),
    )
    for seed in range(5):
        params, extra = family.init(jax.random.key(seed), given)
        run = jax.jit(lambda p, e=extra: family.losses(("vae",), p, e, given, EACH, jnp.int32(0)))
        losses, _, metrics = run(params)
        assert metrics["rate"] < 1e9 and np.isfinite(losses["vae"])
