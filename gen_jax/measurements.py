"""What is seen of an example: y = A x + noise e, of a known matrix A, with e standard normal."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.errors import UserError

_LEAST = 1e-5  # singular values below this part of the largest say nothing


@flax.struct.dataclass
class Measurement:
    """A linear measurement by its singular values, A = U diag(s) V^T.

    A acts on places: the numbers of a vector, or the pixels of an image, in each channel alike. Of
    M measured numbers only R independent ones say something: `summary` finds them.

    Attributes:
      u: [M, R], with orthonormal columns.
      s: [R], above 0, falling.
      v: [R, D], with orthonormal rows.
      noise: the standard deviation of each measured number's noise.
    """

    u: jax.Array
    s: jax.Array
    v: jax.Array
    noise: jax.Array

    def apply(self, x: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """y [B, M, C] of x [B, *shape]; with `keys` [B] noise is added."""
        y = jnp.einsum("mr,brc->bmc", self.u * self.s, self.project(x))
        if keys is not None:
            y += self.noise * jax.vmap(lambda key: jax.random.normal(key, y.shape[1:]))(keys)
        return y

    def summary(self, y: jax.Array) -> jax.Array:
        """What y [B, M, C] says of V^T x, [B, R, C]: each with noise of `levels`."""
        return jnp.einsum("mr,bmc->brc", self.u / self.s, y)

    @property
    def levels(self) -> jax.Array:
        """The standard deviation of the noise of each number of `summary`, [R, 1]."""
        return (self.noise / self.s)[:, None]

    def project(self, x: jax.Array) -> jax.Array:
        """x [B, *shape] -> V^T x [B, R, C]."""
        channels = x.shape[-1] if x.ndim == 4 else 1
        return jnp.einsum("rd,bdc->brc", self.v, x.reshape(len(x), -1, channels))

    def lift(self, w: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """V w of w [B, R, C], as [B, *shape]."""
        return jnp.einsum("rd,brc->bdc", self.v, w).reshape(len(w), *shape)


def of_matrix(matrix: np.ndarray, noise: float = 0.0) -> Measurement:
    """The measurement by a matrix [M, D].

    Raises:
      UserError: for a matrix that measures nothing, or noise below 0.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or not matrix.any():
        raise UserError(
            f"a measurement needs a finite matrix [M, D] that is not 0; this one has shape "
            f"{list(matrix.shape)}"
        )
    if not noise >= 0:
        raise UserError(f"noise={noise} of a measurement must be at least 0")
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    kept = s > _LEAST * s[0]
    return Measurement(*map(jnp.float32, (u[:, kept], s[kept], vt[kept], noise)))


def mask(known: np.ndarray, noise: float = 0.0) -> Measurement:
    """Of the places where `known` [H, W] or [D] is true, their values."""
    known = np.asarray(known, bool).reshape(-1)
    return of_matrix(np.eye(len(known))[known], noise)


def blur(shape: tuple[int, ...], width: float, noise: float = 0.0) -> Measurement:
    """Of an image [H, W, ...], its means under a Gaussian of that width in pixels.

    At an edge the Gaussian is cut off, and the mean is of what is left.
    """
    rows, columns = (_gaussian(size, width) for size in shape[:2])
    return of_matrix(np.kron(rows, columns), noise)


def _gaussian(size: int, width: float) -> np.ndarray:
    apart = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (apart / width) ** 2)
    return weights / weights.sum(1, keepdims=True)


def downsampling(shape: tuple[int, ...], factor: int, noise: float = 0.0) -> Measurement:
    """Of an image [H, W, ...], the mean of each block of that many pixels squared.

    Raises:
      UserError: if the blocks do not divide the image.
    """
    if factor < 1 or shape[0] % factor or shape[1] % factor:
        raise UserError(f"blocks of {factor} pixels do not divide an image of {list(shape[:2])}")
    rows, columns = (
        np.kron(np.eye(size // factor), np.full((1, factor), 1 / factor)) for size in shape[:2]
    )
    return of_matrix(np.kron(rows, columns), noise)
