"""The contract between the loop and a model family.

A family is a frozen dataclass of static choices. Its methods are pure functions: parameters,
moving averages and codebooks live in `State` and are passed in.

A batch is `{"x": [B, *spec.shape] float32 in model units (data/spec.py), "label": [B] int32}`.
Wherever a method takes `keys` [B], there is one key for each example (keys.py).
"""

from typing import Any, NamedTuple, Protocol

import jax
from ml_collections import ConfigDict

from gen_jax.errors import UserError

Batch = dict[str, jax.Array]
Params = dict[str, Any]  # {network: tree of arrays}
Extra = dict[str, Any]  # mutable collections: batch statistics, codebooks


MAX_REPEATS = 1_000


def check_sizes(model: ConfigDict, sizes: tuple[str, ...], repeats: tuple[str, ...] = ()) -> None:
    """Refuses what no network is built of. A key may hold one number or several.

    Args:
      model: the `model` section of a config.
      sizes: keys of widths and the like, at least 1.
      repeats: keys that say how often a part is repeated, which is compiled as often.

    Raises:
      UserError: naming the key.
    """

    def numbers(key: str) -> tuple[int, ...]:
        return tuple(model[key]) if isinstance(model[key], (tuple, list)) else (model[key],)

    for key in sizes:
        if any(number < 1 for number in numbers(key)):
            raise UserError(f"model.{key}={model[key]} must be at least 1")
    for key in repeats:
        if any(number > MAX_REPEATS for number in numbers(key)):
            raise UserError(f"model.{key}={model[key]} must be at most {MAX_REPEATS}")


class Family(Protocol):
    """What the loop needs of a model.

    Attributes:
      turns: who is updated, in order, within one step. A VAE is `(("vae",),)`; a GAN with
        simultaneous updates `(("generator", "discriminator"),)`; five critic updates before one
        of the generator `(("discriminator",),) * 5 + (("generator",),)`. Each turn draws its
        own minibatch.
    """

    turns: tuple[tuple[str, ...], ...]

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Parameters of every network. `batch` is real, for data-dependent initialisation."""

    def losses(
        self,
        turn: tuple[str, ...],
        params: Params,
        extra: Extra,
        batch: Batch,
        keys: jax.Array,
        step: jax.Array,
    ) -> tuple[dict[str, jax.Array], Extra, dict[str, jax.Array]]:
        """(losses {network: scalar} for the networks of the turn, extra, metrics {name: scalar}).

        Each network is updated with the gradient of its own loss. Losses and metrics are means
        over the batch, in float32.
        """


# Abilities: what evaluators, pictures and the command line ask for by name (`families.has`). A
# family has those that make sense for it; `families.require` refuses the others in one line.


class Sampler(Protocol):
    """A model that draws samples.

    Attributes:
      num_classes: labels that a sample can be conditioned on; 0 for none.
    """

    num_classes: int

    def sample(
        self,
        params: Params,
        extra: Extra,
        key: jax.Array,
        num: int,
        condition: jax.Array | None = None,
        temperature: float = 1.0,
    ) -> jax.Array:
        """`num` samples [num, *spec.shape] in model units; `condition` [num] holds labels."""


class LogWeights(NamedTuple):
    """Terms of log w = log p(x|z) + log p(z) - log q(z|x) with z ~ q(z|x).

    Attributes:
      log_likelihood: log p(x|z), [K, B] in nats.
      log_ratios: log p(z) - log q(z|x) of each layer of latents, from the data up: [D, K, B].
    """

    log_likelihood: jax.Array
    log_ratios: jax.Array

    @property
    def log_ratio(self) -> jax.Array:
        """log p(z) - log q(z|x) of all layers, [K, B] in nats."""
        return self.log_ratios.sum(0)

    @property
    def log_w(self) -> jax.Array:
        """[K, B] in nats."""
        return self.log_likelihood + self.log_ratio


class Discriminative(Protocol):
    """A model of the label."""

    def classify(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Logits [B, C] of the labels of x."""


class Adversary(Protocol):
    """A model with a discriminator."""

    def discriminate(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Logits [N] of x being real, where N may be less than B: examples may be packed."""


class Posterior(NamedTuple):
    """A diagonal Gaussian q(z|x): mean and log variance [B, latent_dim]."""

    mean: jax.Array
    log_variance: jax.Array


class ImportanceWeighted(Protocol):
    """A latent-variable model whose likelihood is bounded by importance sampling."""

    def log_weights(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, num_samples: int
    ) -> LogWeights:
        """`num_samples` independent draws of z for each example."""


class Annealable(Protocol):
    """A latent-variable model whose densities can be evaluated at any z of one layer."""

    def prior_samples(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, num: int
    ) -> jax.Array:
        """`num` draws of p(z) for each example, [num, B, L]."""

    def log_prior(self, params: Params, extra: Extra, batch: Batch, z: jax.Array) -> jax.Array:
        """log p(z) in nats: z [K, B, L] -> [K, B]."""

    def log_likelihood(self, params: Params, extra: Extra, batch: Batch, z: jax.Array) -> jax.Array:
        """log p(x|z) in nats: z [K, B, L] -> [K, B]."""

    def simulate(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """A draw of p(x, z) in the place of each example: x [B, *shape] and z [B, L]."""


class Autoencoder(Protocol):
    """A model with an encoder and a decoder."""

    latent_dim: int

    def encode(self, params: Params, extra: Extra, batch: Batch) -> Posterior:
        """q(z|x) of each example."""

    def decode(
        self, params: Params, extra: Extra, z: jax.Array, label: jax.Array | None = None
    ) -> jax.Array:
        """Latents [N, latent_dim] -> mean of p(x|z) [N, *spec.shape] in model units."""

    def sample_posterior(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        """One draw of q(z|x) for each example, [B, latent_dim]."""


class Discrete(Protocol):
    """A model whose latents are codes.

    Attributes:
      codebook_size: number of codes.
    """

    codebook_size: int

    def codes(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """The codes of each example, int32 [B, h, w] from 0 to codebook_size - 1."""
