"""What a description says of the trainer and of alerts comes before the variables."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from recsys import alerts
from recsys.errors import ConfigurationError
from recsys.recommenders import Description, Launcher
from recsys_dag import description_checks, settings
from recsys_dag.timeouts import timeouts
from recsys_dag.trainer import settings as trainer_settings
from tests.descriptions import MOVIES

IMAGE = f"registry.example/trainer@sha256:{'1' * 64}"


def books(**fields: Any) -> Description:
    document = {"name": "books", "title": "Books", "source": "/books.zip", **fields}
    return Description.model_validate_json(json.dumps(document))


def connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def test_the_trainer_of_a_description_comes_before_the_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECSYS_TRAINER_LAUNCHER", "docker")
    monkeypatch.setenv("RECSYS_VERIFIER_IMAGE", IMAGE.replace("trainer@", "verifier@"))
    one = books(trainer={"launcher": "kubernetes", "workers": 3, "image": IMAGE})
    assert trainer_settings.launcher(one) == Launcher.KUBERNETES
    assert trainer_settings.workers(one) == 3
    assert settings.trainer_image(one) == IMAGE
    assert settings.trainer_digest(one, IMAGE) == f"sha256:{'1' * 64}"
    assert "verifier@" in str(trainer_settings.verifier_image(one))
    assert trainer_settings.launcher(MOVIES) == Launcher.DOCKER
    assert trainer_settings.workers(MOVIES) == 1
    own = books(trainer={"verifier_image": IMAGE})
    assert trainer_settings.verifier_image(own) == IMAGE


def test_a_pod_and_a_container_have_what_the_description_names_and_the_rest_of_the_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECSYS_TRAINER_POD_NAMESPACE", "shared")
    monkeypatch.setenv("RECSYS_TRAINER_POD_SERVICE_ACCOUNT", "trainer")
    monkeypatch.setenv("RECSYS_TRAINER_POD_NODE_SELECTOR", '{"pool": "cpu"}')
    monkeypatch.setenv("RECSYS_TRAINER_DOCKER_MEMORY", "6g")
    own = {"namespace": "books", "secret": "books-s3", "node_selector": {"gpu": "yes"}}
    one = books(trainer={"kubernetes": own, "docker": {"cpus": 4}})
    pod, container = trainer_settings.pod_settings(one), trainer_settings.container_settings(one)
    assert (pod.namespace, pod.secret, pod.service_account) == ("books", "books-s3", "trainer")
    assert pod.node_selector == {"gpu": "yes"}, "a value replaces the variable's as a whole"
    derived = trainer_settings.pod_settings(books())
    assert (derived.namespace, derived.secret) == ("recsys-books", "recsys-books-trainer-s3"), (
        "a pod never gets the keys of another recommender because its description names none"
    )
    assert derived.service_account == "trainer"
    assert (container.cpus, container.memory) == (4, "6g")
    movies = trainer_settings.pod_settings(MOVIES)
    assert (movies.namespace, movies.secret) == ("shared", "recsys-trainer-s3")
    monkeypatch.delenv("RECSYS_TRAINER_POD_NAMESPACE")
    assert trainer_settings.pod_settings(MOVIES).namespace == "recsys"


def test_the_time_of_a_training_is_that_of_its_description(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECSYS_TRAINING_TIMEOUT_HOURS", "9")
    assert timeouts(books(trainer={"timeout_hours": 30})).training == timedelta(hours=30)
    assert timeouts(MOVIES).training == timedelta(hours=9)


def test_an_image_that_is_missing_is_asked_for_by_the_name_of_its_variable() -> None:
    one = books(trainer_image_variable="books_image")
    with pytest.raises(ConfigurationError, match="books_image"):
        settings.trainer_digest(one, "")


def test_a_description_that_contradicts_the_variables_spares_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = books(trainer={"workers": 2})
    assert description_checks.usable([MOVIES, many]) == [MOVIES]
    with pytest.raises(ConfigurationError, match="needs Kubernetes"):
        description_checks.usable([many])
    monkeypatch.setenv("RECSYS_TRAINER_LAUNCHER", "kubernetes")
    assert description_checks.usable([MOVIES, many]) == [MOVIES, many]


def test_channels_of_a_description_are_its_only_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_ALERT_SLACK_URL", "https://shared.example/slack")
    monkeypatch.setenv("RECSYS_ALERT_SMTP_URL", "smtp://shared.example")
    monkeypatch.setenv("RECSYS_ALERT_EMAIL_TO", "all@example.com")
    hook = {"conn_type": "http", "host": "https://b.example", "password": "k"}
    connection(monkeypatch, "books_hook", **hook)
    own = settings.alerts_of(books(alerts={"webhook": "books_hook", "kinds": ["rejected"]}))
    assert [each.name for each in alerts.configured_channels(own)] == ["webhook"]
    assert own.webhook_key is not None
    assert own.kinds == {alerts.AlertKind.REJECTED}
    shared = settings.alerts_of(books(alerts={"email_to": ["books@example.com"]}))
    assert [each.name for each in alerts.configured_channels(shared)] == ["slack", "email"]
    assert (shared.email_to, shared.recommender) == (("books@example.com",), "Books")
    assert settings.alerts_of(MOVIES).email_to == ("all@example.com",)


def test_each_recommender_has_a_heartbeat_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_ALERT_HEARTBEAT_URL", "https://beat.example/movies")
    assert settings.alerts_of(books()).heartbeat_url is None
    assert settings.alerts_of(MOVIES).heartbeat_url is not None
    for conn_id, one in (
        ("recsys_alert_heartbeat_books", books()),
        ("beat_of_books", books(alerts={"heartbeat": "beat_of_books"})),
    ):
        connection(monkeypatch, conn_id, conn_type="http", host=f"https://beat.example/{conn_id}")
        found = settings.alerts_of(one).heartbeat_url
        assert found is not None
        assert found.get_secret_value() == f"https://beat.example/{conn_id}"


def test_a_channel_whose_connection_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no_such_hook does not exist"):
        settings.alerts_of(books(alerts={"webhook": "no_such_hook"}))
