"""`recsys doctor` warns of settings that leave out a protection."""

from __future__ import annotations

import pytest

from recsys.monitoring import warnings

KEYS = {"RECSYS_VERIFICATION_KEYS": "/etc/recsys/public-keys"}
BY_DIGEST = f"registry/verifier@sha256:{'a' * 64}"


@pytest.mark.parametrize("launcher", ["docker", "kubernetes"])
def test_a_trainer_that_would_be_measured_by_its_own_image_is_a_warning(launcher: str) -> None:
    environ = {**KEYS, "RECSYS_TRAINER_LAUNCHER": launcher}
    for unset in ({}, {"RECSYS_VERIFIER_IMAGE": ""}):
        [warning] = warnings({**environ, **unset})
        assert "RECSYS_VERIFIER_IMAGE is not set" in warning
        assert launcher in warning
    assert warnings({**environ, "RECSYS_VERIFIER_IMAGE": BY_DIGEST}) == []


@pytest.mark.parametrize("launcher", [None, "", "local"])
def test_a_trainer_on_this_machine_needs_no_image(launcher: str | None) -> None:
    environ = KEYS if launcher is None else {**KEYS, "RECSYS_TRAINER_LAUNCHER": launcher}
    assert warnings(environ) == []


@pytest.mark.parametrize("environ", [{}, {"RECSYS_VERIFICATION_KEYS": ""}])
def test_without_public_keys_releases_are_said_to_be_unsigned(environ: dict[str, str]) -> None:
    [warning] = warnings(environ)
    assert "unsigned" in warning
    assert "RECSYS_VERIFICATION_KEYS is not set" in warning
