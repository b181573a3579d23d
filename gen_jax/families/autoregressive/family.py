"""Autoregressive models: p(x) as a product of p(x_i | what comes before it in an order)."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.likelihoods import Likelihood


@dataclasses.dataclass(frozen=True)
class Orders:
    """The orders in which a model may go through the dimensions of an example.

    Attributes:
      size: D.
      first: "raster", "reverse" or "random", the first of them. The others are random.
      count: at least 1.
      seed: of the random ones.
    """

    size: int
    first: str = "raster"
    count: int = 1
    seed: int = 0

    @functools.cached_property
    def place(self) -> np.ndarray:
        """The place of each dimension in each order, int32 [count, D]."""
        generator = np.random.Generator(np.random.Philox(key=self.seed))
        raster = np.arange(self.size, dtype=np.int32)
        given = {"raster": [raster], "reverse": [raster[::-1]], "random": []}[self.first]
        drawn = [generator.permutation(raster) for _ in range(self.count - len(given))]
        return np.stack([*given, *drawn])

    def __len__(self) -> int:
        return self.count


@dataclasses.dataclass(frozen=True)
class Autoregressive:
    """One network that gives the parameters of every p(x_i | x before i) at once.

    With several orders, training takes them in turn, one a step, and the model is the mixture of
    what each gives, with equal weights (Germain et al. 2015, section 4.2; Uria et al. 2014, arXiv
    1310.1757).

    Attributes:
      spec: the data.
      network: the module: `(x [B, *shape], place [D], context [B, N] or None)` to the parameters of
        each dimension.
      likelihood: of x, given its parameters.
      orders: in which it goes through the dimensions of an example.
      given: what it is conditioned on: ("label",) or ().
    """

    spec: DataSpec
    network: nn.Module
    likelihood: Likelihood
    orders: Orders
    given: tuple[str, ...] = ()

    turns = (("autoregressive",),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        inputs = self._inputs(batch["x"], batch, self.orders.place[0])
        return {"autoregressive": self.network.init(key, *inputs)["params"]}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        place = jnp.asarray(self.orders.place)[step % len(self.orders)]
        loss = -self._log_prob(params, batch["x"], batch, place).mean()
        return {"autoregressive": loss}, extra, {"nll": loss}

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """Of the mixture over orders, exactly."""

        def of_order(place):
            return self._log_prob(params, batch["x"], batch, place)

        each = jax.lax.map(of_order, jnp.asarray(self.orders.place))
        return LogProb(jax.nn.logsumexp(each, 0) - jnp.log(len(self.orders)))

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key [B], in an order that is drawn too where there are several."""
        nothing = jnp.zeros((len(keys), *self.spec.shape))
        draw = functools.partial(
            self._draw, params, condition, keys_lib.named(keys, "x"), nothing, nothing, options
        )
        if len(self.orders) == 1:
            return draw(self.orders.place[0])[0]
        each = jax.lax.map(lambda place: draw(place)[0], jnp.asarray(self.orders.place))
        uniform = keys_lib.uniform(keys_lib.named(keys, "order"))
        chosen = jnp.int32(uniform * len(self.orders))
        return each[chosen, jnp.arange(len(keys))]

    def complete(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        mask: jax.Array,
        keys: jax.Array,
        options: Options,
    ) -> jax.Array:
        """See `base.Completer`. Exact where what is known comes first in one of the orders."""
        known = np.asarray(mask, bool).reshape(len(mask), -1)
        order = self._order_of(known)
        x, mask = batch["x"], jnp.asarray(known.reshape(batch["x"].shape))
        keys = keys_lib.named(keys, "x")
        return self._draw(params, batch, keys, x, mask, options, self.orders.place[order])[0]

    def _order_of(self, known: np.ndarray) -> int:
        """An order in which all known dimensions [B, D] come before the unknown ones."""
        for number, place in enumerate(self.orders.place):
            in_order = known[:, np.argsort(place)]
            if (np.diff(in_order.astype(int), axis=1) <= 0).all():
                return number
        raise UserError(
            "this model completes an example whose known part comes first in its order; train one "
            "with --config.model.order that has it so, or use a family that completes any mask"
        )

    def network_calls(
        self, params: Params, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """How many times `sample` of the first order asks the network."""
        nothing = jnp.zeros((len(keys), *self.spec.shape))
        keys = keys_lib.named(keys, "x")
        place = self.orders.place[0]
        return self._draw(params, condition, keys, nothing, nothing, options, place)[1]

    def _inputs(self, x: jax.Array, batch: Batch, place: jax.Array) -> tuple:
        """What the network is given of examples [B, *shape] in model units."""
        context = None
        if self.given:
            context = jax.nn.one_hot(batch["label"], self.spec.num_classes)
        return self.spec.center(x), jnp.asarray(place), context

    def _params(self, params: Params, x: jax.Array, batch: Batch, place: jax.Array) -> jax.Array:
        """The likelihood's parameters of each dimension, [B, *shape, P]."""
        inputs = self._inputs(x, batch, place)
        outputs = self.network.apply({"params": params["autoregressive"]}, *inputs)
        return outputs.reshape(*x.shape, self.likelihood.num_params)

    def _log_prob(self, params, x, batch, place):
        return self.likelihood.log_prob(self._params(params, x, batch, place), x)

    def _draw(self, params, condition, keys, x, known, options, place) -> tuple:
        """x [B, *shape] where it is known, and draws elsewhere; and how many network calls."""
        noise, temperature = self.likelihood.noise(keys), options["temperature"]
        place = jnp.asarray(place).reshape(self.spec.shape)
        x = jnp.where(known, x, jnp.zeros_like(x))

        def draw(current):
            drawn = self._params(params, current, condition, place.reshape(-1))
            return jnp.where(known, x, self.likelihood.from_noise(drawn, noise, temperature))

        return DECODINGS[options["decoding"]](draw, x, place)


def sequential(draw: Callable, x: jax.Array, place: jax.Array) -> tuple[jax.Array, int]:
    """One dimension after another: `draw` gives all from what is there, and one of them is kept."""

    def step(number, x):
        return jnp.where(place == number, draw(x), x)

    return jax.lax.fori_loop(0, place.size, step, x), place.size


def jacobi(draw: Callable, x: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
    """All dimensions at once, until they no longer change: the same x as `sequential`.

    Under fixed noise x is the one fixed point of `draw`, and after n calls its first n dimensions
    are final; so it takes D calls at most, and few where most of x is plain from little of it. Song
    et al. 2021 (arXiv 2002.03629), algorithm 1.
    """

    def more(state):
        x, before, calls = state
        return (calls < place.size) & (x != before).any()

    def step(state):
        x, _, calls = state
        return draw(x), x, calls + 1

    x, _, calls = jax.lax.while_loop(more, step, (draw(x), x, jnp.int32(1)))
    return x, calls


DECODINGS = {"jacobi": jacobi, "sequential": sequential}
