"""Latents of which a decoder makes what was seen of an example: by gradient, from several starts.

Of a model without an encoder, as a GAN, so are the latents of a picture; and of any model with
latents what is missing of one. Zhu et al. 2016 (Generative Visual Manipulation on the Natural Image
Manifold, arXiv 1609.03552), section 4.2; Bora et al. 2017 (arXiv 1703.03208).
"""

import functools

import jax
import jax.numpy as jnp
import optax

from gen_jax import families, ticks
from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.base import Autoencoder, Decoder, Extra, Params
from gen_jax.measurements import Measurement

_STARTS, _STEPS, _RATE = 4, 200, 0.1
# A decoder is seldom nearer to an example than this, of numbers from -1 to 1, and with less noise
# the prior would not count.
_MISFIT = 0.2
# Of Langevin dynamics: so many steps, and their size in squares of the misfit, which is stable
# while the squares of a decoder's slopes sum to less than 40 in any direction.
_STRIDES, _STRIDE = 100, 0.05


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def invert(
    family: Decoder,
    spec: DataSpec,
    walked: bool,
    params: Params,
    extra: Extra,
    measurement: Measurement,
    y: jax.Array,
    key: jax.Array,
    index: jax.Array,
    condition: Batch,
) -> jax.Array:
    """The most likely z [B, latent_dim] of those found, given y [B, M, C] of x.

    What is lowered is |y - A G(z)|^2 / (2 s^2) + |z|^2 / 2, where s is the noise of the measurement
    or 0.2 if that is more. The starts are draws of N(0, I), and of an autoencoder the code of what
    the measurement alone says of x. Each example has steps and starts of its own, so that it is the
    same in any batch.

    Args:
      family: with a decoder.
      spec: its data.
      walked: whether z goes on from there by Langevin dynamics, for a while, so that what y leaves
        open differs from one key to another. It is then about a draw of p(z | y), but for modes
        that the search did not find.
      params: of the model.
      extra: of the model.
      measurement: what y is of x, in the units that networks read.
      y: [B, M, C].
      key: of the starts and of the walk.
      index: numbers of the examples, [B].
      condition: what the decoder is given, arrays [B, ...].
    """
    keys = keys_lib.per_example(key, index)
    misfit = jnp.maximum(measurement.noise, _MISFIT)

    def cost(z, y, condition):
        """[N] of z [N, latent_dim] and as many of what they are to explain."""
        x = spec.center(family.decode(params, extra, z, condition))
        error = jnp.square(measurement.apply(x) - y).sum((1, 2))
        return error / (2 * misfit**2) + jnp.square(z).sum(1) / 2

    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))
    many = jax.tree.map(lambda array: jnp.concatenate([array] * _STARTS), (y, condition))

    def step(carry, _):
        z, state = carry
        slope = jax.grad(lambda z: cost(z, *many).sum())(z)
        update, state = optimizer.update(slope, state)
        return (optax.apply_updates(z, update), state), None

    starts = keys_lib.normal(keys_lib.named(keys, "starts"), (_STARTS, family.latent_dim))
    starts = starts.swapaxes(0, 1)
    if families.has(family, Autoencoder):
        seen = measurement.lift(measurement.summary(y), spec.shape)
        x = jnp.clip(spec.uncenter(seen), *spec.limits)
        batch = {"label": jnp.zeros(len(y), jnp.int32), **condition, "x": x}
        starts = starts.at[0].set(family.encode(params, extra, batch).mean)
    start = starts.reshape(-1, family.latent_dim)
    z, _ = ticks.scan(step, (start, optimizer.init(start)), length=_STEPS)[0]
    least = cost(z, *many).reshape(_STARTS, -1).argmin(0)
    best = z.reshape(starts.shape)[least, jnp.arange(len(y))]
    if not walked:
        return best
    size, walk = _STRIDE * misfit**2, keys_lib.named(keys, "walk")

    def stride(z, number):
        noise = keys_lib.normal(keys_lib.fold(walk, number), (family.latent_dim,))
        slope = jax.grad(lambda z: cost(z, y, condition).sum())(z)
        return z - size / 2 * slope + jnp.sqrt(size) * noise, None

    return ticks.scan(stride, best, jnp.arange(_STRIDES), before=_STEPS)[0]
