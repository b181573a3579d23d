"""The contract between the loop and a model family.

A family is a frozen dataclass of static choices. Its methods are pure functions: parameters,
moving averages and codebooks live in `State` and are passed in. Its folder says by a
`FamilyDefinition` what it is called, which keys it has and what goes with it.

A batch is made by `DataSpec.batch` (data/spec.py): `{"x": [B, *spec.shape] in model units,
"label": [B] int32, ...}`. Wherever a method takes `keys` [B], there is one key for each example
(keys.py). A `condition` is a batch too: it has those arrays that the model is given, and `x` never.
A batch of training has its examples' places in the training data besides, as `index` [B].
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax
import numpy as np
from ml_collections import ConfigDict

from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families.alarms import Rule
from gen_jax.likelihoods import DiagonalGaussian
from gen_jax.measurements import Measurement
from gen_jax.settings import Setting

Params = dict[str, Any]  # {network: tree of arrays}
Extra = dict[str, Any]  # mutable collections: batch statistics, codebooks
Options = Mapping[str, Any]  # of sampling: the keys of a config's `sample` section

# The first training examples, which `init` is given unless a family asks for more.
INIT_EXAMPLES = 1_024


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
        over this device's part of the batch, in float32; the loop averages them over devices.
        It does not touch `extra`, which must come out equal on all of them: what is computed from
        the batch goes through `parallel.mean` or `parallel.gather` first.
        """


@dataclasses.dataclass(frozen=True)
class FamilyDefinition:
    """A family, as the rest of the house knows it.

    Attributes:
      name: of a config's key `family`.
      models: the classes that `build` gives, so that an error can say who has an ability.
      build: `(model, spec)`, the `model` section of a config and what the data are -> the family.
        It raises a `UserError` for what does not go together.
      settings: the keys of the `model` section.
      sample_options: the keys of the `sample` section that are its own: `Options` of `sample`.
      validation_metrics: measured during training unless a config says otherwise.
      metrics: measured by `evaluate` unless a config says otherwise.
      alarms: what a run's figures may warn of.
      undecayed: names of modules whose parameters are those of a prior: weight decay would draw it
        towards one that nobody asked for.
      init_examples: of the training data, which `init` is given at most, by the `model` section.
    """

    name: str
    models: tuple[type, ...]
    build: Callable[[ConfigDict, DataSpec], Family]
    settings: Mapping[str, Setting]
    sample_options: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    validation_metrics: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    alarms: tuple[Rule, ...] = ()
    undecayed: tuple[str, ...] = ()
    init_examples: Callable[[ConfigDict], int] = lambda model: INIT_EXAMPLES


TEMPERATURE = Setting(1.0, "factor of the standard deviations of what is drawn", affects="figures")


# Abilities: what evaluators, pictures and the command line ask for by name (`families.has`). A
# family has those that make sense for it; `families.require` refuses the others in one line.


class Sampler(Protocol):
    """A model that draws samples.

    Attributes:
      given: names of the arrays of a batch that the model is conditioned on: "label", or of
        `DataSpec.given`; () for none.
    """

    given: tuple[str, ...]

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """A sample [B, *spec.shape] in model units for each of `keys` [B].

        `condition` has the arrays [B, ...] that `given` names.
        """


@flax.struct.dataclass
class LogProb:
    """What a model says of log p(x), or of log p(x | what it is given).

    Attributes:
      value: [B] in nats; of real x it is the log of a density.
      stderr: [B], the standard error of an estimate; None where there is none.
      kind: "exact", "lower_bound" or "estimate".
    """

    value: jax.Array
    stderr: jax.Array | None = None
    kind: str = flax.struct.field(pytree_node=False, default="exact")


class Density(Protocol):
    """A model that says log p(x) itself."""

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """Of each example."""


class RestDensity(Protocol):
    """A model that says log p of the rest of an example, given the part that is known."""

    def log_prob_of_rest(
        self, params: Params, extra: Extra, batch: Batch, known: np.ndarray, keys: jax.Array
    ) -> LogProb:
        """Of `batch["x"]` [B, *spec.shape] where `known`, bool [*spec.shape], is False.

        Raises:
          UserError: for a part whose rest it says nothing of.
        """


class ElementDensity(Protocol):
    """A model that says log p of each element of a sequence, given those before it."""

    def element_log_probs(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Nats, [B, T], of the elements in the order of the sequence."""


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


class ImportanceWeighted(Protocol):
    """A latent-variable model whose likelihood is bounded by importance sampling."""

    def log_weights(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, num_samples: int
    ) -> LogWeights:
        """`num_samples` independent draws of z for each example."""


class Completer(Protocol):
    """A model that draws the rest of an example of which a part is known."""

    def complete(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        mask: jax.Array,
        keys: jax.Array,
        options: Options,
    ) -> jax.Array:
        """x [B, *spec.shape] in model units that is `batch["x"]` where `mask`, of its shape, is 1.

        Raises:
          UserError: for a mask that it cannot complete, naming what it can.
        """


class Continuer(Protocol):
    """A model of sequences that goes on from a beginning."""

    def continued(
        self,
        params: Params,
        extra: Extra,
        keys: jax.Array,
        prompt: jax.Array,
        length: jax.Array,
        condition: Batch,
        options: Options,
    ) -> jax.Array:
        """Sequences as long as the prompt that begin with its first `length` elements.

        Args:
          params: of the model.
          extra: of the model.
          keys: [B].
          prompt: [T, ...] in model units, filled up behind what is known.
          length: how much is known, a scalar that may be traced.
          condition: as of `Sampler`.
          options: likewise.

        Returns:
          x [B, T, ...] in model units.
        """


class Denoiser(Protocol):
    """A model that says what is behind noise."""

    def denoise(
        self,
        params: Params,
        extra: Extra,
        x: jax.Array,
        noise_level: jax.Array,
        condition: Batch,
    ) -> jax.Array:
        """E[x0 | x0 + noise_level * e = x], e standard normal: x [B, ...], noise_level [B] -> x0.

        In the units that networks read (`DataSpec.center`).
        """


class SteppedBound(Protocol):
    """A model whose bound on the likelihood depends on the number of its steps."""

    def bound(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, steps: int
    ) -> jax.Array:
        """A draw of the lower bound on log p(x) of each example by so many steps, [B] in nats."""


class BoundInParts(Protocol):
    """A model whose bound on the likelihood is a sum of costs."""

    def bound_parts(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> dict[str, jax.Array]:
        """Their names, and each in nats, [B]."""


class OdeDensity(Protocol):
    """A model whose likelihood an ODE gives, besides a bound."""

    def ode_log_prob(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array
    ) -> jax.Array:
        """An estimate of a lower bound on log p(x) of bytes in nats, [B].

        The bound is that of data which uniform noise makes real; the estimate is the ODE's.
        """


class Restorer(Protocol):
    """A model that draws examples given a linear measurement of them."""

    def restore(
        self,
        params: Params,
        extra: Extra,
        keys: jax.Array,
        measurement: Measurement,
        y: jax.Array,
        condition: Batch,
        options: Options,
    ) -> jax.Array:
        """A draw of p(x | y) [B, *spec.shape] in model units for each of `keys` [B].

        y [B, M, C] and the noise of `measurement` are of x in the units that networks read
        (`DataSpec.center`).
        """


class Guided(Protocol):
    """A model whose samples can be drawn towards what a classifier finds likely."""

    def guide(
        self,
        params: Params,
        extra: Extra,
        keys: jax.Array,
        log_prob: Callable[[jax.Array, Batch], jax.Array],
        condition: Batch,
        options: Options,
    ) -> jax.Array:
        """A sample [B, *spec.shape] in model units for each of `keys` [B].

        `log_prob(x, condition)` has the classifier's log-probability [B] of what is asked for, of
        x in the units that networks read (`DataSpec.center`); it may be weighted.
        """


class TwoWays(Protocol):
    """A model that makes x of a source, and a source of x."""

    def translate_back(self, params: Params, extra: Extra, x: jax.Array) -> jax.Array:
        """A source [B, *spec.given["source"].shape] of each x [B, *spec.shape], in model units."""


class Stylist(Protocol):
    """A model that makes x of a source in the style of another x."""

    def in_style(self, params: Params, extra: Extra, source: jax.Array, x: jax.Array) -> jax.Array:
        """Of sources [B, *spec.given["source"].shape] and x [B, *spec.shape], in model units."""


class Editor(Protocol):
    """A model that draws examples like given ones: noise is added to them, and removed."""

    def edit(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        keys: jax.Array,
        noise_level: jax.Array,
        options: Options,
    ) -> jax.Array:
        """x [B, *spec.shape] in model units, as far from `batch["x"]` as the noise is strong.

        `noise_level` is a standard deviation in the units that networks read (`DataSpec.center`).
        """


class Student(Protocol):
    """A model that learns from a trained one of another kind, which `init_from` names."""

    def student_of(self, params: Params, extra: Extra) -> tuple[Params, Extra]:
        """Parameters and extra of the student before its first step, of the teacher's."""


class Film(Protocol):
    """A model whose samples come about step by step."""

    def film(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """What there is of each sample before each step and at the end, [F, B, *spec.shape]."""


class CallsCounted(Protocol):
    """A model that draws a sample by a number of network calls that can be chosen."""

    def sampling_calls(self, options: Options) -> int | None:
        """Calls of the network for each sample; None where each has its own number."""

    def within_calls(self, options: Options, calls: int) -> Options:
        """The options with as many steps as take no more calls, of one step at least."""


class Discriminative(Protocol):
    """A model of the label."""

    def classify(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Logits [B, C] of the labels of x."""


class Adversary(Protocol):
    """A model with a discriminator."""

    def discriminate(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Logits [N] of x being real, where N may be less than B: examples may be packed."""


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


class Decoder(Protocol):
    """A model that makes examples of latents, which are N(0, I) or nearly so."""

    latent_dim: int

    def decode(self, params: Params, extra: Extra, z: jax.Array, condition: Batch) -> jax.Array:
        """Latents [N, latent_dim] -> mean of p(x|z) [N, *spec.shape] in model units.

        `condition` has the arrays [N, ...] that the decoder is given (`Sampler.given`). A label may
        be shares of classes, float [N, num_classes].
        """


class Autoencoder(Decoder, Protocol):
    """A model with an encoder and a decoder."""

    latent_dim: int

    def encode(self, params: Params, extra: Extra, batch: Batch) -> DiagonalGaussian:
        """q(z|x) of each example: mean and log variance [B, latent_dim]."""

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
