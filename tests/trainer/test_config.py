import pytest

from recsys.errors import ConfigurationError
from trainer.config import RatingConfig, TrainingConfig, build_settings, training_config


def test_without_overrides_the_defaults_apply() -> None:
    assert training_config({}) == TrainingConfig()


def test_an_override_changes_only_its_field() -> None:
    config = training_config({"rating": {"epochs": 3}})
    assert config.rating == RatingConfig(epochs=3)
    assert config.ranking == TrainingConfig().ranking


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"epochs": 3}, "epochs"),
        ({"rating": {"epoch": 3}}, "rating.epoch"),
        ({"rating": {"epochs": 0}}, "rating.epochs"),
        ({"rating": {"epochs": "3"}}, "rating.epochs"),
        ({"rating": {"epochs": 2.5}}, "rating.epochs"),
        ({"rating": {"learning_rate": float("nan")}}, "rating.learning_rate"),
        ({"rating": {"learning_rate": -0.1}}, "rating.learning_rate"),
        ({"rating": {"validation_share": 1.0}}, "rating.validation_share"),
        ({"ranking": {"stride": True}}, "ranking.stride"),
        ({"ranking": None}, "ranking"),
        ({"ranking": []}, "ranking"),
    ],
)
def test_an_invalid_override_is_refused_by_name(overrides: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigurationError, match=rf": {field}: "):
        training_config(overrides)


def test_unknown_settings_of_a_build_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r": trainer\.epochs: "):
        build_settings({"trainer": {"epochs": 3}})
