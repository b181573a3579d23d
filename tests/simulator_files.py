"""Files as the simulation-based inference benchmark has them."""

import bz2
import zipfile


def write_wheel(folder, name, rows):
    """A wheel like the benchmark's: `rows(number)` are an observation and draws."""
    with zipfile.ZipFile(folder / "sbibm-1.0-py3-none-any.whl", "w") as wheel:
        for number in range(1, 11):
            place = f"sbibm/tasks/{name}/files/num_observation_{number}"
            observation, draws = rows(number)
            for file, values in (
                ("observation.csv", observation[None]),
                ("reference_posterior_samples.csv.bz2", draws),
            ):
                lines = [",".join(f"number_{i}" for i in range(values.shape[1]))]
                lines += [",".join(map(str, row)) for row in values]
                text = "\n".join(lines).encode()
                packed = bz2.compress(text) if file.endswith("bz2") else text
                wheel.writestr(f"{place}/{file}", packed)
