from importlib.metadata import version

import pytest

from recsys import contract
from recsys.errors import ConfigurationError
from trainer.keras_compatibility import check_site_keras


@pytest.mark.parametrize("site", ["", "3.99.0", "4.0.1", version("keras")])
def test_a_site_whose_keras_is_unknown_the_same_or_newer_is_served(site: str) -> None:
    check_site_keras({contract.ENV_SITE_KERAS: site})


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("3.1.5", "the site's Keras is older"),
        ("2.15.0", "the site's Keras is older"),
        ("newest", "is not a version of Keras"),
        ("3", "is not a version of Keras"),
    ],
)
def test_a_site_that_could_not_load_the_model_is_told_before_training(
    site: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_site_keras({contract.ENV_SITE_KERAS: site})
