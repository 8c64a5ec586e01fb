from importlib.metadata import version

import pytest

from recsys import contract
from recsys.errors import ConfigurationError
from trainer.keras_compatibility import check_site_keras


@pytest.mark.parametrize("site", ["", "3.99.0", "4.0.1", version("keras")])
def test_an_unknown_equal_or_newer_keras_of_the_site_is_accepted(site: str) -> None:
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
def test_an_older_or_invalid_keras_of_the_site_is_refused(site: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_site_keras({contract.ENV_SITE_KERAS: site})
