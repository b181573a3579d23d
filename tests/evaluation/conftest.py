import linear as linear_model
import pytest


@pytest.fixture(scope="session")
def linear():
    """A linear VAE, draws of its own and their exact log p(x)."""
    return linear_model.build()
