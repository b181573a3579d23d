"""Absorbing diffusion of discrete data: elements are hidden, and a network says what they were.

Austin et al. 2021 (D3PM, arXiv 2107.03006), section 3.1 and appendix A.2.2, with a mask as the
absorbing state. At a time t of [0, 1] each element is hidden with probability t, on its own.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import keys as keys_lib
from gen_jax import ticks
from gen_jax.data.spec import Batch, DataSpec
from gen_jax.families import conditions
from gen_jax.families.base import Extra, LogProb, Options, Params


@dataclasses.dataclass(frozen=True)
class AbsorbingDiffusion:
    """A network that says of every hidden element which value it has, given those that are seen.

    Attributes:
      spec: the data, binary or tokens.
      network: `(seen [B, ..., C * (V + 1)], l [B], context)` -> logits [B, ..., C * V].
      bound_steps: T, of the process whose bound `log_prob` gives.
      given: ("label",) or ().
      label_dropout: how often training withholds the label, for guidance.
    """

    spec: DataSpec
    network: nn.Module
    bound_steps: int = 100
    given: tuple[str, ...] = ()
    label_dropout: float = 0.0

    turns = (("denoiser",),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        x = batch["x"].astype(jnp.int32)
        seen = self._seen(x, jnp.zeros(x.shape, bool))
        context = self._context(batch)
        params = self.network.init(key, seen, jnp.zeros(len(x)), context)["params"]
        return {"denoiser": params}, {}

    def losses(self, turn, params, extra, batch, keys, step):
        """The bound of infinitely many steps, at one time: sum of -log p of what is hidden, / t."""
        t = jnp.maximum(keys_lib.uniform(keys_lib.named(keys, "t")), 1e-3)
        share = keys_lib.uniform(keys_lib.named(keys, "hidden"), self.spec.shape)
        context = self._context(batch, keys)
        x = batch["x"].astype(jnp.int32)
        hidden = share < t.reshape(-1, *[1] * (x.ndim - 1))
        nats = self._hidden_nats(params, x, hidden, self._there(batch), t, context)
        loss = (nats / t).mean()
        return {"denoiser": loss / self.spec.num_dims}, extra, {"nll_bound": loss}

    def bound(
        self, params: Params, extra: Extra, batch: Batch, keys: jax.Array, steps: int
    ) -> jax.Array:
        """See `base.SteppedBound`: one draw of what is hidden at each of `steps` times.

        At time t / T an element that is hidden becomes seen at the next step with probability
        1 / t, and KL(q || p) is that times -log p of its value. At the end all are hidden in both.
        """
        return self._bound(params, batch, jnp.zeros(self.spec.shape, bool), keys, steps)

    def _bound(self, params, batch, known, keys, steps: int) -> jax.Array:
        """Of what is not known [*spec.shape]; what is, is never hidden."""
        x, context = batch["x"].astype(jnp.int32), self._context(batch)
        there = self._there(batch)
        share = keys_lib.uniform(keys_lib.named(keys, "hidden"), self.spec.shape)
        share = jnp.where(known, 2.0, share)

        def term(total, number):
            t = number / steps
            nats = self._hidden_nats(params, x, share < t, there, jnp.full(len(x), t), context)
            return total + nats / number, None

        numbers = jnp.arange(1, steps + 1, dtype=jnp.float32)
        return -jax.lax.scan(term, jnp.zeros(len(x)), numbers)[0]

    def log_prob(self, params: Params, extra: Extra, batch: Batch, keys: jax.Array) -> LogProb:
        """`bound` of `bound_steps` steps."""
        return LogProb(
            self.bound(params, extra, batch, keys, self.bound_steps), None, "lower_bound"
        )

    def log_prob_of_rest(
        self, params: Params, extra: Extra, batch: Batch, known: np.ndarray, keys: jax.Array
    ) -> LogProb:
        """See `base.RestDensity`: `bound` of a process that hides what is not known alone."""
        bound = self._bound(params, batch, known, keys, self.bound_steps)
        return LogProb(bound, None, "lower_bound")

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key, in `options["steps"]` steps."""
        nothing = jnp.zeros((len(keys), *self.spec.shape), jnp.int32)
        return self._reveal(params, nothing, nothing > 0, keys, condition, options)

    def sampling_calls(self, options: Options) -> int:
        """See `base.CallsCounted`."""
        return options["steps"] * (2 if options["guidance"] != 1 else 1)

    def within_calls(self, options: Options, calls: int) -> Options:
        """See `base.CallsCounted`."""
        return {**options, "steps": max(calls // self.sampling_calls({**options, "steps": 1}), 1)}

    def complete(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        mask: jax.Array,
        keys: jax.Array,
        options: Options,
    ) -> jax.Array:
        """See `base.Completer`: what is known is seen from the start, whichever it is."""
        conditions.check_mask(mask, batch["x"])
        x, known = batch["x"].astype(jnp.int32), jnp.asarray(mask, bool)
        return self._reveal(params, x, known, keys, batch, options)

    def _reveal(self, params, x, known, keys, condition, options) -> jax.Array:
        """The ancestral sampler: at each step some of the hidden elements are drawn.

        Each has a time of its own at which it is, as a hidden element becomes seen at step t with
        probability 1 / t whenever that is.
        """
        steps, guidance = options["steps"], options["guidance"]
        conditions.check_guidance(guidance, self.given, self.label_dropout)
        ask = functools.partial(self._ask, params)
        ask = conditions.guided(ask, self._context(condition), guidance)
        when = keys_lib.uniform(keys_lib.named(keys, "when"), self.spec.shape)
        when = jnp.where(known, 2.0, when)

        def step(x, number):
            t = number / steps
            seen = self._seen(x, when >= t)
            logits = ask(seen, _log_ratio(jnp.full(len(x), t))).reshape(
                *x.shape, self.spec.num_values
            )
            own = keys_lib.uniform(keys_lib.fold(keys, number.astype(jnp.int32)), logits.shape[1:])
            gumbel = -jnp.log(-jnp.log(jnp.clip(own, 1e-7, 1 - 1e-7)))
            drawn = jnp.argmax(logits + gumbel, -1).astype(jnp.int32)
            now = (when < t) & (when >= (number - 1) / steps)
            return jnp.where(now, drawn, x), None

        numbers = jnp.arange(steps, 0, -1, dtype=jnp.float32)
        x = ticks.scan(step, x, numbers)[0]
        return x if self.spec.kind == "tokens" else x.astype(jnp.float32)

    def _hidden_nats(self, params, x, hidden, there, t, context) -> jax.Array:
        """-log p of the hidden elements that there are, summed: [B]."""
        logits = self._ask(params, self._seen(x, ~hidden & there), _log_ratio(t), context)
        log_p = jax.nn.log_softmax(logits.reshape(*x.shape, self.spec.num_values), -1)
        nats = -jnp.take_along_axis(log_p, x[..., None], -1)[..., 0]
        return (nats * (hidden & there)).reshape(len(x), -1).sum(1)

    def _ask(self, params, seen, log_ratio, context) -> jax.Array:
        return self.network.apply({"params": params["denoiser"]}, seen, log_ratio, context)

    def _seen(self, x: jax.Array, seen: jax.Array) -> jax.Array:
        """Which value each element has, or that it is hidden: one of V + 1 numbers is 1."""
        values = self.spec.num_values
        one = jax.nn.one_hot(jnp.where(seen, x, values), values + 1)
        # Channels of an image with the values of each; of a sequence the values alone.
        return one.reshape(*x.shape[:-1], -1) if self.spec.is_image else one

    def _there(self, batch: Batch) -> jax.Array:
        """Which elements there are: of a sequence that is shorter than others the first."""
        if "length" not in batch:
            return jnp.ones(self.spec.shape, bool)
        return jnp.arange(self.spec.shape[0]) < batch["length"][:, None]

    def _context(self, batch: Batch, keys: jax.Array | None = None) -> jax.Array | None:
        if not self.given:
            return None
        return conditions.labels(batch, self.spec.num_classes, keys, self.label_dropout)


def _log_ratio(t: jax.Array) -> jax.Array:
    """The logarithm of how many elements are seen for one that is hidden."""
    return jnp.log1p(-jnp.minimum(t, 1 - 1e-4)) - jnp.log(t)
