"""Which Ray a job uses, and with which authentication."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fal_model.errors import ConfigError
from jobs.runtime.config import RaySection
from jobs.runtime.session import check_auth_mode, ray_session, resolve_address
from tests.helpers.processes import run_job


@pytest.mark.parametrize(
    ("setting", "variable", "address"),
    [
        ("auto", None, "local"),
        ("auto", "", "local"),
        ("auto", "10.0.0.1:6379", "10.0.0.1:6379"),
        ("local", "10.0.0.1:6379", "local"),
        ("10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"),
        ("10.0.0.2:6379", None, "10.0.0.2:6379"),
    ],
)
def test_the_address_is_the_settings_else_the_environments_else_private(
    monkeypatch: pytest.MonkeyPatch, setting: str, variable: str | None, address: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert resolve_address(RaySection(address=setting)) == address


@pytest.mark.parametrize("variable", [None, "token", "disabled", "nonsense"])
def test_a_private_ray_has_no_token_whatever_is_set(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    if variable is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", variable)
    assert check_auth_mode("local") == "disabled"


@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_clusters_mode_is_what_was_said(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert check_auth_mode("10.0.0.1:6379") == mode


@pytest.mark.parametrize("variable", [None, "", "Token", "on"])
def test_a_cluster_is_not_joined_before_the_mode_is_said(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    if variable is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", variable)
    with pytest.raises(ConfigError) as caught:
        check_auth_mode("10.0.0.1:6379")
    assert caught.value.problems == [
        f"RAY_AUTH_MODE: got {variable or ''!r} when joining Ray at '10.0.0.1:6379', must be token or disabled"
    ]


def test_the_mode_is_checked_before_ray_is_asked_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(ConfigError, match="RAY_AUTH_MODE"), ray_session(RaySection(address="192.0.2.1:1")):
        pytest.fail("joined a cluster")


def test_a_ray_that_cannot_be_joined_is_one_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    settings = ["--classes=2", "--videos-per-class=3", "ray.address=no-such-cluster"]
    done = run_job("make_corpus.py", ["--output", str(tmp_path / "corpus"), *settings])
    assert done.returncode == 1
    says = "Ray at 'no-such-cluster' could not be joined: Invalid address format: no-such-cluster"
    assert done.stderr.endswith(f"1 problem:\n  {says}\n")
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "corpus" / "summary.json").read_text(encoding="utf-8"))["problems"] == [says]


@pytest.mark.ray
def test_a_job_inside_another_uses_the_same_ray(ray_local: tuple[str, ...]) -> None:
    import ray

    assert ray_local == ("ray.address=local",)
    before = ray.get_runtime_context().gcs_address
    with ray_session(RaySection(address="local", num_cpus=3)):
        assert ray.get_runtime_context().gcs_address == before
    assert ray.is_initialized()
    assert ray.cluster_resources()["CPU"] == 4
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
