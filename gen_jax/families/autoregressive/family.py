"""Autoregressive models: p(x) as a product of p(x_i | what comes before it in an order)."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys as keys_lib
from gen_jax import ticks
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.errors import UserError
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, Options, Params
from gen_jax.likelihoods import Categorical, Likelihood


@dataclasses.dataclass(frozen=True)
class Orders:
    """The orders in which a model may go through the dimensions of an example.

    Attributes:
      shape: of an example, of D dimensions.
      first: "raster", "reverse", "random" or "quadrants", the first of them. The others are random.
      count: at least 1.
      seed: of the random ones.
    """

    shape: tuple[int, ...]
    first: str = "raster"
    count: int = 1
    seed: int = 0

    @functools.cached_property
    def place(self) -> np.ndarray:
        """The place of each dimension in each order, int32 [count, D]."""
        generator = np.random.Generator(np.random.Philox(key=self.seed))
        raster = np.arange(math.prod(self.shape), dtype=np.int32)
        given = {
            "raster": lambda: [raster],
            "reverse": lambda: [raster[::-1]],
            "quadrants": lambda: [self._by_quadrants()],
            "random": list,
        }[self.first]()
        drawn = [generator.permutation(raster) for _ in range(self.count - len(given))]
        return np.stack([*given, *drawn])

    def _by_quadrants(self) -> np.ndarray:
        """The lower left quadrant, the upper left, the lower right, the upper right: what is known
        in Sohn et al. 2015, section 5.2, comes first."""
        row, column = np.indices(self.shape)[:2]
        lower, left = row >= self.shape[0] / 2, column < self.shape[1] / 2
        order = np.argsort((2 * ~left + ~lower).reshape(-1), kind="stable")
        return np.argsort(order).astype(np.int32)

    def __len__(self) -> int:
        return self.count


class Network(Protocol):
    """What gives the parameters of every p(x_i | x before i): a linen module.

    It sees an example as T elements of one shape: the pixels of an image, the characters of a text,
    the frames of a piece of music. MADE has an order that may change; the others have that of the
    elements.

    Attributes:
      element: shape of an element, [C] or [1].
      reads_values: whether it is given x in model units, each value of which has a vector in it;
        else as `DataSpec.center` has it.
    """

    element: tuple[int, ...]
    reads_values: bool

    def __call__(
        self,
        x: jax.Array,
        place: jax.Array,
        context: jax.Array | None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Parameters of each dimension, [B, T, *element, P].

        Args:
          x: examples, [B, *shape].
          place: of each dimension in the order, [D].
          context: what all of them may depend on, [B, N], or None.
          keys: [B], of the noise of training, dropout; None: there is none.
        """


class Cached(Protocol):
    """A network that goes on from what it remembers of the elements before."""

    def start(self, num: int) -> Any:
        """The memory of `num` examples of which nothing is there yet, arrays [num, ...]."""

    def step(
        self, memory: Any, number: jax.Array, before: jax.Array, context: jax.Array | None
    ) -> tuple[jax.Array, Any]:
        """One element further.

        Args:
          memory: of the elements before the one before.
          number: of the element, a scalar.
          before: the element before it, [B, *element]; of the first, anything.
          context: as in a call.

        Returns:
          features [B, F] of the element, and the memory with the one before it.
        """

    def head(self, features: jax.Array, element: jax.Array) -> jax.Array:
        """Parameters [B, *element, P] from the features, and from the element itself where its
        dimensions depend on those before them in it."""


@dataclasses.dataclass(frozen=True)
class Autoregressive:
    """One network that gives the parameters of every p(x_i | x before i) at once.

    With several orders, training takes them in turn, one a step, and the model is the mixture of
    what each gives, with equal weights (Germain et al. 2015, section 4.2; Uria et al. 2014, arXiv
    1310.1757).

    Examples may have a `length` [B]: how many of their elements there are. What is behind is
    filling, which nothing depends on and nothing is learned from.

    Attributes:
      spec: the data.
      network: see `Network` and `Cached`.
      likelihood: of an element, given its parameters.
      orders: in which it goes through the dimensions of an example.
      given: what it is conditioned on: ("label",) or ().
      label_dropout: the share of training examples whose label is withheld, which
        `sample.guidance` needs (Ho and Salimans 2022, arXiv 2207.12598).
      joint_element: whether the dimensions of an element depend on one another.
    """

    spec: DataSpec
    network: nn.Module
    likelihood: Likelihood
    orders: Orders
    given: tuple[str, ...] = ()
    label_dropout: float = 0.0
    joint_element: bool = False

    turns = (("autoregressive",),)

    @property
    def num_elements(self) -> int:
        """T."""
        return self.spec.num_dims // math.prod(self.network.element)

    @property
    def is_cached(self) -> bool:
        """Whether the network remembers."""
        return hasattr(self.network, "step")

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        few = {name: array[:1] for name, array in batch.items()}  # networks do not look at them
        inputs = (self._read(few["x"]), self.orders.place[0], self._context(few))
        return {"autoregressive": self.network.init(key, *inputs)["params"]}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        place = jnp.asarray(self.orders.place)[step % len(self.orders)]
        terms = self._terms(params, batch, place, keys)
        counted = self._counted(batch)
        loss = -jnp.sum(terms * counted, 1).mean()
        if not self.spec.medium:
            return {"autoregressive": loss}, extra, {"nll": loss}
        # Of a sequence, whose length is a choice, an element's. It is no mean over the elements of
        # the batch, as that would not be the same on any number of devices.
        loss = loss / self.num_elements
        return {"autoregressive": loss}, extra, {"nll_per_element": loss}

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """Of the mixture over orders, exactly; of the elements that there are."""

        def of_order(place):
            terms = self._terms(params, batch, place)
            return jnp.sum(terms * self._counted(batch), 1)

        each = jax.lax.map(of_order, jnp.asarray(self.orders.place))
        return LogProb(jax.nn.logsumexp(each, 0) - jnp.log(len(self.orders)))

    def element_log_probs(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """See `base.ElementDensity`. By the first order."""
        return self._terms(params, batch, jnp.asarray(self.orders.place[0]))

    def log_prob_of_rest(
        self, params: Params, extra: Extra, batch: Batch, known: np.ndarray, keys: jax.Array
    ) -> LogProb:
        """See `base.RestDensity`. Exact where what is known comes first in the only order."""
        if len(self.orders) > 1:
            raise UserError(
                "what a mixture over orders says of the rest of an example is not known; train "
                "with --config.model.num_orders=1"
            )
        place = self.orders.place[self._order_of(known.reshape(1, -1))]
        rest = ~known.reshape(self.num_elements, -1).all(-1)
        return LogProb(jnp.sum(self._terms(params, batch, jnp.asarray(place)) * rest, 1))

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key [B], in an order that is drawn too where there are several.

        Of `options["length"]` elements where that is not 0.
        """
        if options.get("length") and options["length"] != self.num_elements:
            changed = {**options, "length": 0}
            return self.of_length(options["length"]).sample(params, extra, keys, condition, changed)
        nothing = jnp.zeros((len(keys), *self.spec.shape), bool)
        draw = functools.partial(
            self._draw, params, condition, keys_lib.named(keys, "x"), nothing, nothing, options
        )
        if len(self.orders) == 1:
            return draw(self.orders.place[0])[0]
        each = jax.lax.map(lambda place: draw(place)[0], jnp.asarray(self.orders.place))
        uniform = keys_lib.uniform(keys_lib.named(keys, "order"))
        chosen = jnp.int32(uniform * len(self.orders))
        return each[chosen, jnp.arange(len(keys))]

    def of_length(self, length: int) -> "Autoregressive":
        """The same model of sequences of so many elements.

        Raises:
          UserError: for a model of images or vectors, and for MADE, which have one size.
        """
        if not self.spec.medium or not self.is_cached:
            raise UserError("this model's examples have one size; leave out the length")
        spec = dataclasses.replace(self.spec, shape=(length, *self.spec.shape[1:]))
        return dataclasses.replace(self, spec=spec, orders=Orders(spec.shape))

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
        conditions.check_mask(mask, batch["x"])
        known = np.asarray(mask, bool).reshape(len(mask), -1)
        order = self._order_of(known)
        x, mask = batch["x"], jnp.asarray(known.reshape(batch["x"].shape))
        keys = keys_lib.named(keys, "x")
        return self._draw(params, batch, keys, x, mask, options, self.orders.place[order])[0]

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
        """See `base.Continuer`."""
        model = self.of_length(len(prompt))
        x = jnp.broadcast_to(prompt, (len(keys), *prompt.shape))
        mask = (jnp.arange(len(prompt)) < length).reshape(-1, *[1] * (prompt.ndim - 1))
        mask = jnp.broadcast_to(mask, x.shape)
        keys = keys_lib.named(keys, "x")
        return model._draw(params, condition, keys, x, mask, options, model.orders.place[0])[0]

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
        nothing = jnp.zeros((len(keys), *self.spec.shape), bool)
        keys = keys_lib.named(keys, "x")
        place = self.orders.place[0]
        return self._draw(params, condition, keys, nothing, nothing, options, place)[1]

    def _context(self, batch: Batch, keys: jax.Array | None = None) -> jax.Array | None:
        """What the network is given of a batch besides x, [B, N], or None."""
        if not self.given:
            return None
        return conditions.labels(batch, self.spec.num_classes, keys, self.label_dropout)

    def _read(self, x: jax.Array) -> jax.Array:
        return x if self.network.reads_values else self.spec.center(x)

    def _elements(self, array: jax.Array) -> jax.Array:
        """[B, *shape] -> [B, T, *element]."""
        return array.reshape(len(array), self.num_elements, *self.network.element)

    def _counted(self, batch: Batch) -> jax.Array:
        """1 for the elements that there are, [B, T]."""
        number = jnp.arange(self.num_elements)
        length = batch.get("length")
        if length is None:
            length = jnp.full(len(batch["x"]), self.num_elements)
        return jnp.float32(number < length[:, None])

    def _params(self, params, x, place, context, keys=None) -> jax.Array:
        """The likelihood's parameters of each element, [B, T, *element, P]."""
        inputs = (self._read(x), jnp.asarray(place), context, keys)
        outputs = self.network.apply({"params": params["autoregressive"]}, *inputs)
        return outputs.reshape(len(x), self.num_elements, *self.network.element, -1)

    def _terms(self, params, batch, place, keys=None) -> jax.Array:
        """log p of each element, [B, T]; with the noise of training where there are keys."""
        context = self._context(batch, keys)
        own = self._params(params, batch["x"], place, context, keys)
        return self.likelihood.log_prob(own, self._elements(batch["x"]))

    def _draw(self, params, condition, keys, x, known, options, place) -> tuple:
        """x [B, *shape] where it is known, and draws elsewhere; and how many network calls.

        Every element has noise of its own, so that all decodings draw the same.
        """
        decoding = options["decoding"]
        if decoding == "auto":
            decoding = "cached" if self.is_cached else "jacobi"
        if decoding == "cached" and not self.is_cached:
            raise UserError("this network remembers nothing: --options.decoding=jacobi")
        x = jnp.where(known, x, jnp.zeros_like(x)).astype(self._dtype)
        contexts = self._guided(self._context(condition), len(keys), options)
        drawn = functools.partial(self._from_noise, options=options)
        if decoding == "cached":
            return self._draw_cached(params, contexts, keys, x, known, drawn)
        number = jnp.arange(self.num_elements)
        noise = jax.vmap(lambda t: self.likelihood.noise(keys_lib.fold(keys, t)), 0, 1)(number)
        place = jnp.asarray(place).reshape(self.spec.shape)

        def draw(current):
            each = [self._params(params, current, place.reshape(-1), c) for c in contexts]
            return jnp.where(known, x, drawn(each, noise).reshape(x.shape).astype(x.dtype))

        return DECODINGS[decoding](draw, x, place)

    @property
    def _dtype(self) -> str:
        return "int32" if self.spec.kind == "tokens" else "float32"

    def _guided(self, context, num: int, options) -> list:
        """The contexts whose parameters make a draw: with guidance, also that of no label."""
        if not options.get("guidance"):
            return [context]
        if not self.label_dropout:
            raise UserError(
                "guidance needs a class-conditional model that was trained with "
                "--config.model.label_dropout=0.1 or so"
            )
        return [context, jnp.zeros_like(context)]

    def _from_noise(self, each: list, noise: Any, options: Options) -> jax.Array:
        """What the noise becomes, by the parameters that each context gives."""
        params, *without = each
        for other in without:
            # Logits alone: a mixture's means and scales are no log probabilities.
            if self.likelihood.num_params not in (1, getattr(self.likelihood, "levels", 1)):
                raise UserError("guidance is of logits: of a bernoulli or categorical likelihood")
            params = params + options["guidance"] * (params - other)
        top_k, top_p = options.get("top_k", 0), options.get("top_p", 1.0)
        if top_k or top_p < 1:
            if not isinstance(self.likelihood, Categorical):
                raise UserError("top_k and top_p are of a categorical likelihood")
            params = likely(params / jnp.maximum(options["temperature"], 1e-6), top_k, top_p)
            params = params * jnp.maximum(options["temperature"], 1e-6)
        return self.likelihood.from_noise(params, noise, options["temperature"])

    def _draw_cached(self, params, contexts, keys, x, known, drawn) -> tuple:
        """One element after another, each from what the network remembers of those before."""
        apply = functools.partial(self.network.apply, {"params": params["autoregressive"]})
        x, known = self._elements(x), self._elements(known)
        count = math.prod(self.network.element)

        def step(state, number):
            before, memories = state
            read = self._read(before)
            found = [
                apply(memory, number, read, context, method="step")
                for memory, context in zip(memories, contexts, strict=True)
            ]
            noise = self.likelihood.noise(keys_lib.fold(keys, number))

            def draw(element):
                read = self._read(element)
                each = [apply(features, read, method="head") for features, _ in found]
                new = drawn(each, noise).astype(x.dtype)
                return jnp.where(known[:, number], x[:, number], new)

            element = x[:, number]
            if self.joint_element:
                element, _ = jacobi(draw, element, jnp.arange(count))
            else:
                element = draw(element)
            return (element, [memory for _, memory in found]), element

        memories = [apply(len(x), method="start") for _ in contexts]
        numbers = jnp.arange(self.num_elements)
        _, elements = ticks.scan(step, (x[:, 0], memories), numbers)
        return jnp.moveaxis(elements, 0, 1).reshape(len(x), *self.spec.shape), self.num_elements


def likely(logits: jax.Array, top_k: int, top_p: float) -> jax.Array:
    """Logits [..., V] with -inf for what is not likely.

    What stays is the `top_k` likeliest values (0: all), and of these the fewest whose share of the
    probability is at least `top_p` (Holtzman et al. 2020, arXiv 1904.09751, section 3.1).
    """
    ordered = jnp.flip(jnp.sort(logits, -1), -1)
    if top_k:
        least = ordered[..., min(top_k, logits.shape[-1]) - 1]
        ordered = jnp.where(ordered >= least[..., None], ordered, -jnp.inf)
        logits = jnp.where(logits >= least[..., None], logits, -jnp.inf)
    share = jax.nn.softmax(ordered, -1)
    inside = jnp.cumsum(share, -1) - share < top_p  # before this value it is not yet reached
    least = jnp.min(jnp.where(inside, ordered, jnp.inf), -1)
    return jnp.where(logits >= least[..., None], logits, -jnp.inf)


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


# From the whole network; "cached" remembers, and "auto" is that where the network can, else jacobi.
DECODINGS = {"jacobi": jacobi, "sequential": sequential}
CHOICES = ("auto", "cached", *DECODINGS)
