"""Consistency distillation: a trained diffusion's samples in one step, or in a few.

Song et al. 2023 (arXiv 2303.01469), algorithm 2.
"""

import dataclasses

import jax
import jax.numpy as jnp

from gen_jax import keys as keys_lib
from gen_jax.data.spec import Batch
from gen_jax.families.base import Extra, Options, Params
from gen_jax.families.diffusion.family import Diffusion
from gen_jax.families.diffusion.process import EDM_RHO
from gen_jax.families.diffusion.samplers import all_of, noise_of


@dataclasses.dataclass(frozen=True)
class ConsistencyModel:
    """A network that says of z at any noise where the ODE of another network leads it.

    Attributes:
      diffusion: of the teacher, and of the same network for the student. What its network says of z
        with next to no noise is z itself, as the boundary condition asks for (equation 5).
      ladder_steps: N, noise levels between which the teacher takes steps.
    """

    diffusion: Diffusion
    ladder_steps: int = 40

    turns = (("denoiser",),)

    @property
    def spec(self):
        return self.diffusion.spec

    @property
    def given(self) -> tuple[str, ...]:
        return self.diffusion.given

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        return self.student_of(*self.diffusion.init(key, batch))

    def student_of(self, params: Params, extra: Extra) -> tuple[Params, Extra]:
        """See `base.Student`."""
        return params, {**extra, "teacher": params["denoiser"]}

    def losses(self, turn, params, extra, batch, keys, step):
        """The distance of where z leads and where it leads after a step of the teacher."""
        own = self.diffusion
        x = own.standardized(extra, batch["x"])
        levels = self._levels(self.ladder_steps)
        u = keys_lib.uniform(keys_lib.named(keys, "level"))
        number = jnp.int32(u * (self.ladder_steps - 1))
        noise = keys_lib.normal(keys_lib.named(keys, "noise"), x.shape[1:])
        wide = lambda level: level.reshape(-1, *[1] * (x.ndim - 1))  # noqa: E731
        more, less = levels[number], levels[number + 1]
        y = x + wide(more) * noise
        ask = {
            name: self._of_y(network, extra, batch)
            for name, network in (("teacher", extra["teacher"]), ("student", params["denoiser"]))
        }
        # Heun's rule for dy/ds = noise.
        first = ask["teacher"](y, more)[1]
        between = y + wide(less - more) * first
        second = ask["teacher"](between, less)[1]
        nearer = y + wide(less - more) * (first + second) / 2
        target = jax.lax.stop_gradient(ask["student"](nearer, less)[0])
        gap = jnp.square(ask["student"](y, more)[0] - target).reshape(len(x), -1).sum(1)
        # Song and Dhariwal 2024 (arXiv 2310.14189), sections 3.3 and 3.5. A short step changes
        # little, and unless it counts for more the error of what follows from it grows upwards.
        small = 0.00054 * own.spec.num_dims**0.5
        loss = (jnp.sqrt(gap + small**2) - small) / (more - less)
        return {"denoiser": loss.mean()}, extra, {"gap": gap.mean() / own.spec.num_dims}

    def sample(
        self, params: Params, extra: Extra, keys: jax.Array, condition: Batch, options: Options
    ) -> jax.Array:
        """One x for each key in `options["steps"]` steps: algorithm 1."""
        own, steps = self.diffusion, options["steps"]
        levels = self._levels(steps + 1)[:-1]
        lead = self._of_y(params["denoiser"], extra, condition)
        start = keys_lib.normal(keys_lib.named(keys, "start"), own.spec.shape)
        draws = keys_lib.named(keys, "steps")

        def step(x, inputs):
            number, level = inputs
            fresh = noise_of(draws, number, x.shape[1:])
            noise = jnp.where(number == 0, start * jnp.sqrt(1 + level**-2), fresh)
            y = jnp.where(number == 0, 0.0, x) + level * noise
            return lead(y, all_of(level, y))[0], None

        x, _ = jax.lax.scan(step, jnp.zeros_like(start), (jnp.arange(steps), levels))
        return own.in_units(extra, x)

    def sampling_calls(self, options: Options) -> int:
        """See `base.CallsCounted`."""
        return options["steps"]

    def within_calls(self, options: Options, calls: int) -> Options:
        """See `base.CallsCounted`."""
        return {**options, "steps": max(calls, 1)}

    def _levels(self, num: int) -> jax.Array:
        """Levels s = sigma / alpha, falling by equal steps of s^(1/7) between the schedule's ends.

        Whatever the schedule: the last of a cosine's equal steps of time leaps over most of the
        noise, and counts for so little in the loss that the student would not learn it.
        """
        most, least = jnp.exp(-self.diffusion.process.ladder(2) / 2)
        return jnp.linspace(most ** (1 / EDM_RHO), least ** (1 / EDM_RHO), num) ** EDM_RHO

    def _of_y(self, network, extra, condition):
        """(y = z / alpha, s = sigma / alpha [B]) -> what z is made of."""
        own = self.diffusion
        denoise = own.denoiser({"denoiser": network}, extra, condition)

        def of(y, level):
            log_snr = -2 * jnp.log(level)
            alpha = own.process.scales(log_snr)[0].reshape(-1, *[1] * (y.ndim - 1))
            return denoise(alpha * y, log_snr)

        return of
