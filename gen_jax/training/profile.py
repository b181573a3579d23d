"""A trace of some training steps, by JAX's profiler."""

from pathlib import Path

import jax


class Profile:
    """Traces the first steps that come after the one that compiles.

    Args:
      folder: where the trace goes.
      steps: how many, rounded up to whole dispatches; 0 for none.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder, self._left = folder, steps
        self._compiled = self._running = False

    def before(self) -> None:
        """To be called before each dispatch."""
        if self._left > 0 and self._compiled and not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True
        self._compiled = True

    def after(self, steps: int, outputs) -> str:
        """To be called after each dispatch of so many steps; says how to look at a trace."""
        if not self._running:
            return ""
        self._left -= steps
        if self._left > 0:
            return ""
        jax.block_until_ready(outputs)
        jax.profiler.stop_trace()
        self._running = False
        return (
            f"traced; to look at it: pip install xprof && xprof --port 8791 {self._folder}, or "
            f"open the .trace.json.gz below {self._folder} in ui.perfetto.dev"
        )

    def close(self) -> None:
        """Ends a trace that is still running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
