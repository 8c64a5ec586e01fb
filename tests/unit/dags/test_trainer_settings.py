"""How the trainer's launcher, pod and container are set; what nonsense says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from recsys.errors import ConfigurationError
from recsys.recommenders import Description, Launcher
from recsys_dag import environment
from recsys_dag.trainer import settings
from recsys_dag.trainer.settings import ContainerSettings, PodSettings
from tests.descriptions import MOVIES

DIGEST = f"sha256:{'c' * 64}"


def test_nothing_set_means_a_local_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_TRAINER_LAUNCHER", raising=False)
    assert settings.launcher(MOVIES) == Launcher.LOCAL
    monkeypatch.setenv("RECSYS_TRAINER_LAUNCHER", "")
    assert settings.launcher(MOVIES) == Launcher.LOCAL


@pytest.mark.parametrize("launcher", list(Launcher))
def test_one_variable_picks_the_launcher(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TRAINER_LAUNCHER", launcher.value)
    assert settings.launcher(MOVIES) == launcher


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("RECSYS_TRAINER_LAUNCHER", "nomad", lambda: settings.launcher(MOVIES)),
        ("RECSYS_TRAINER_WORKERS", "0", lambda: settings.launcher(MOVIES)),
        *(
            (name, value, lambda: environment.read(PodSettings))
            for name, value in [
                ("RECSYS_TRAINER_POD_NAMESPACE", "Not_A_Name"),
                ("RECSYS_TRAINER_POD_DEADLINE_S", "0"),
                ("RECSYS_TRAINER_POD_RESOURCES", '{"limits": "9Gi"}'),
                ("RECSYS_TRAINER_POD_AFFINITY", "[]"),
                ("RECSYS_TRAINER_POD_TOLERATIONS", '{"key": "gpu"}'),
                ("RECSYS_TRAINER_POD_NODE_SELECTOR", "pool=gpu"),
            ]
        ),
        (
            "RECSYS_TRAINER_DOCKER_MEMORY",
            "lots",
            lambda: environment.read(ContainerSettings),
        ),
        ("RECSYS_TRAINER_DOCKER_CPUS", "-1", lambda: environment.read(ContainerSettings)),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    variable: str, value: str, read: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        read()


def test_shapes_of_a_gpu_pool_are_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = {"requests": {"cpu": "4"}, "limits": {"memory": "9Gi", "nvidia.com/gpu": "1"}}
    terms = [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    for name, value in {
        "RESOURCES": resources,
        "AFFINITY": affinity,
        "TOLERATIONS": tolerations,
        "NODE_SELECTOR": {"pool": "gpu"},
    }.items():
        monkeypatch.setenv(f"RECSYS_TRAINER_POD_{name}", json.dumps(value))
    found: PodSettings = environment.read(PodSettings)
    assert found.resources == resources
    assert found.affinity == affinity
    assert found.tolerations == tolerations
    assert found.node_selector == {"pool": "gpu"}


def test_the_pod_template_of_the_project_is_the_default() -> None:
    assert PodSettings().template.name == "trainer-pod.yaml"
    assert PodSettings().template.is_file()


def test_the_digest_is_what_stands_behind_the_name() -> None:
    image = f"registry.example:5000/team/recsys-trainer@{DIGEST}"
    assert settings.digest_of(image) == DIGEST


@pytest.mark.parametrize(
    "image",
    [
        "",
        "recsys-trainer",
        "registry.example/recsys-trainer:v3",
        "recsys-trainer@sha256:abc",
        f"recsys-trainer@{DIGEST} ",
        f"@{DIGEST}",
        f"recsys-trainer@{DIGEST.upper()}",
        f"recsys trainer@{DIGEST}",
    ],
)
def test_an_image_without_a_digest_is_refused_with_the_remedy(image: str) -> None:
    with pytest.raises(ConfigurationError, match="names no image by digest") as caught:
        settings.digest_of(image)
    assert settings.IMAGE_VARIABLE in str(caught.value)
    assert "sha256:<64 hex digits>" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "names"), [({}, ["recsys-trainer-s3"]), ({"workload_identity": True}, [])]
)
def test_a_pod_with_an_identity_of_its_own_needs_no_secret(
    fields: dict[str, bool], names: list[str]
) -> None:
    from recsys_dag.trainer.pod import pod_arguments

    sources = pod_arguments("train", PodSettings.model_validate(fields))["env_from"]
    assert [source.secret_ref.name for source in sources] == names


def test_the_same_release_of_two_recommenders_has_two_labels() -> None:
    release_id = f"{'a' * 8}-{'b' * 8}"
    longest = Description(name="b" * 40, title="Books", source="/books.zip")
    labels = [settings.label_value(one, release_id) for one in (MOVIES, longest)]
    assert labels[0] == release_id
    # Kubernetes' form of a label's value.
    assert re.fullmatch(r"[a-z0-9][-a-z0-9_.]{0,61}[a-z0-9]", labels[1])
    assert labels[1] != labels[0]
