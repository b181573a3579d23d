import cli
import pytest
from drills import SMALL

from gen_jax import config as config_lib
from gen_jax import experiment
from gen_jax.data import sources


@pytest.fixture(scope="session")
def small():
    """The config of `drills.SMALL`."""
    path = str(cli.ROOT / SMALL[0].removeprefix("--config="))
    return config_lib.override(config_lib.load_file(path), SMALL[1:])


@pytest.fixture(scope="session")
def dataset(small):
    """Its data."""
    return sources.load(small.data)


@pytest.fixture(scope="session")
def whole(small, tmp_path_factory):
    """Its workdir after training without a fault: checkpoints 20 and 40. To be copied."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    assert experiment.train(small, workdir)
    return workdir
