"""Keys belong to an example and not to a batch."""

import subprocess
import sys

import cli
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys


def test_draws_of_an_example_do_not_depend_on_its_batch():
    stream = keys.stream(7, "train")
    whole = keys.normal(keys.per_example(stream, jnp.arange(8)), (3,))
    part = keys.normal(keys.per_example(stream, jnp.arange(4, 6)), (3,))
    np.testing.assert_array_equal(whole[4:6], part)


def test_streams_seeds_steps_and_names_all_differ():
    draws = set()
    for seed in (0, 1):
        for name in ("train", "init"):
            for step in (0, 1):
                key = keys.fold(keys.stream(seed, name), step)
                for each in (key, keys.named(key, "a"), keys.named(key, "b")):
                    draws.add(float(jax.random.uniform(each)))
    assert len(draws) == 24


def test_bernoulli_has_its_probability():
    many = keys.per_example(keys.stream(0, "x"), jnp.arange(20_000))
    draws = keys.bernoulli(many, jnp.broadcast_to(jnp.array([0.0, 0.25, 1.0]), (20_000, 3)))
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), [0, 0.25, 1], atol=0.01)
    assert (draws[:, 0] == 0).all() and (draws[:, 2] == 1).all()


def test_the_generator_is_the_same_whatever_jaxs_default_is():
    """With rbg, the draws of a vector of keys would depend on its length."""
    program = """
import jax.numpy as jnp
from gen_jax import keys
each = lambda n: keys.uniform(keys.per_example(keys.stream(0, "x"), jnp.arange(n)), (3,))
print(each(5)[:2].tolist(), each(2).tolist() == each(5)[:2].tolist())
"""
    said = []
    for default in ("threefry2x32", "rbg", "unsafe_rbg"):
        env = cli.environment() | {"JAX_DEFAULT_PRNG_IMPL": default}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=cli.ROOT, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0].endswith("True\n") and said[0] == said[1] == said[2]
