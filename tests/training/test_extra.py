"""`extra` comes out of a step as the family made it: whole numbers stay whole."""

import json
import subprocess
import sys

import cli
import numpy as np
import toy

PROGRAM = """
import json, sys
sys.path.insert(0, "tests")
import jax
import toy
state, metrics = toy.run(toy.Toy(), steps=6)
steps = state.extra["steps"]
print(json.dumps([jax.device_count(), str(steps.dtype), int(steps), float(state.extra["count"]),
                  state.params["left"]["w"].tolist()]))
"""


def on(devices):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=cli.ROOT,
        env=cli.environment(devices),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_counter_of_steps_on_two_devices_and_on_one():
    state, _ = toy.run(toy.Toy(), steps=6)
    devices, dtype, steps, count, left = on(2)
    assert (devices, dtype, steps) == (2, "int32", 6) and int(state.extra["steps"]) == 6
    # What is computed from the batch is that of the global batch, on any number of devices.
    np.testing.assert_allclose(count, state.extra["count"], rtol=1e-5)
    np.testing.assert_allclose(left, state.params["left"]["w"], rtol=1e-5)
