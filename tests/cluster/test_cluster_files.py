"""The cluster files agree with the lock file, the version, the tree and the jobs they start."""

import ast
import copy
import functools
import importlib
import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from pydantic import BaseModel
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
KUBERAY = sorted((CLUSTER / "kuberay").glob("*.yaml"))
JOBS = sorted((CLUSTER / "kuberay").glob("ray-job.*.yaml"))
AWS = CLUSTER / "aws" / "ray-cluster.yaml"
IN_IMAGE = "local:///opt/fal"
# What Ray checks cluster files with; it comes with Ray and has no type information.
VALIDATION_ERROR: type[Exception] = importlib.import_module("jsonschema").ValidationError


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project_version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def locked(package: str) -> str:
    found = re.search(
        rf"^{re.escape(package)}==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found, f"{package} is not in constraints.txt"
    return found[1]


def walk(data: object) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) at any depth."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield str(key), value
            yield from walk(value)
    elif isinstance(data, list):
        for item in data:
            yield from walk(item)


def values(data: object, name: str) -> list[Any]:
    return [value for key, value in walk(data) if key == name]


@functools.cache
def output_of(*command: str) -> str:
    """Run a job script of the tree and return what it prints; the test fails if it fails."""
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_expected_files_are_there() -> None:
    assert [p.name for p in KUBERAY] == [
        "ray-cluster.yaml",
        "ray-job.label.yaml",
        "ray-job.train.yaml",
        "ray-service.yaml",
    ]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda p: p.name)
def test_ray_version_is_the_locked_one(path: Path) -> None:
    versions = values(load(path), "rayVersion")
    assert versions == [locked("ray")]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda p: p.name)
def test_every_cluster_demands_a_token(path: Path) -> None:
    assert values(load(path), "authOptions") == [{"mode": "token"}]


@pytest.mark.parametrize("path", [*KUBERAY, AWS], ids=lambda p: p.name)
def test_images_carry_the_project_version(path: Path) -> None:
    images = values(load(path), "image")
    assert images
    assert set(images) == {f"fal-video:{project_version()}"}


@pytest.mark.parametrize("path", KUBERAY, ids=lambda p: p.name)
def test_containers_are_unprivileged_and_bounded(path: Path) -> None:
    pods = values(load(path), "template")
    assert pods
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda p: p.name)
def test_every_mount_has_its_volume(path: Path) -> None:
    for pod in values(load(path), "template"):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        mounts = {m["name"] for c in pod["spec"]["containers"] for m in c.get("volumeMounts", [])}
        assert mounts == volumes


@pytest.mark.parametrize("path", KUBERAY, ids=lambda p: p.name)
def test_replicas_lie_within_their_bounds(path: Path) -> None:
    for group in (group for groups in values(load(path), "workerGroupSpecs") for group in groups):
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_training_cluster_has_128_gpus() -> None:
    (group,) = values(load(CLUSTER / "kuberay" / "ray-job.train.yaml"), "workerGroupSpecs")[0]
    gpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert group["replicas"] * gpus == 128


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_runs_a_script_of_the_tree(path: Path) -> None:
    python, script, *_ = shlex.split(load(path)["spec"]["entrypoint"])
    assert python == "python"
    assert script.startswith("jobs/")
    assert (ROOT / script).is_file(), f"{path.name} starts {script}, which does not exist"


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_accepts_every_flag_of_its_entrypoint(path: Path) -> None:
    _, script, *arguments = shlex.split(load(path)["spec"]["entrypoint"])
    flags = {a.partition("=")[0] for a in arguments if a.startswith("--")}
    assert flags
    text = output_of(script, "--help")
    unknown = {flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)}
    assert not unknown, f"{script} --help does not name {sorted(unknown)}, used in {path.name}"


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_accepts_the_settings_of_its_entrypoint(path: Path) -> None:
    _, script, *arguments = shlex.split(load(path)["spec"]["entrypoint"])
    configs = [word for flag, value in itertools.pairwise(arguments) if flag == "--config" for word in (flag, value)]
    overrides = [a for a in arguments if re.match(r"[a-z_]+\.[a-z_]+=", a)]
    assert yaml.safe_load(output_of(script, "--print-config", *configs, *overrides))


def test_jobs_name_configs_of_the_tree() -> None:
    entrypoints = [shlex.split(load(path)["spec"]["entrypoint"]) for path in JOBS]
    named = [value for words in entrypoints for flag, value in itertools.pairwise(words) if flag == "--config"]
    assert named
    assert [config for config in named if not (ROOT / config).is_file()] == []


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_runs_in_the_checkout_of_the_image(path: Path) -> None:
    environment = yaml.safe_load(load(path)["spec"]["runtimeEnvYAML"])
    assert RuntimeEnv(**environment)["working_dir"] == IN_IMAGE
    assert "WORKDIR /opt/fal" in (CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def test_the_service_embeds_the_serve_config() -> None:
    service = load(CLUSTER / "kuberay" / "ray-service.yaml")
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == load(CLUSTER / "serve.yaml")


def test_ray_accepts_the_serve_config() -> None:
    schema = ServeDeploySchema.model_validate(load(CLUSTER / "serve.yaml"))
    assert [app.import_path for app in schema.applications] == ["jobs.serve:app"]


def test_the_serve_application_exists() -> None:
    for application in load(CLUSTER / "serve.yaml")["applications"]:
        module, _, name = application["import_path"].partition(":")
        source = ROOT / f"{module.replace('.', '/')}.py"
        assert source.is_file(), f"{application['import_path']}: {source.name} does not exist"
        assert name in top_level_names(source), f"{source.name} has no {name!r}"


def top_level_names(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case _:
                pass
    return names


def test_the_serve_application_accepts_its_arguments() -> None:
    for application in load(CLUSTER / "serve.yaml")["applications"]:
        module, _, name = application["import_path"].partition(":")
        builder = getattr(importlib.import_module(module), name)
        (parameter,) = inspect.signature(builder).parameters
        model = get_type_hints(builder)[parameter]
        assert issubclass(model, BaseModel)
        assert set(application["args"]) <= set(model.model_fields)
        model.model_validate(application["args"])


def test_ray_accepts_the_runtime_environment() -> None:
    environment = load(CLUSTER / "runtime-env.yaml")
    assert set(RuntimeEnv(**environment)) == {"excludes", "env_vars"}


def test_ray_accepts_the_aws_cluster() -> None:
    config = prepare_config(load(AWS))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]


@pytest.mark.parametrize("key", ["node_types", "max_worker"])
def test_ray_rejects_an_unknown_key_in_the_aws_cluster(key: str) -> None:
    config = copy.deepcopy(load(AWS)) | {key: 1}
    with pytest.raises(VALIDATION_ERROR, match=f"'{key}' was unexpected"):
        validate_config(prepare_config(config))


def test_the_aws_cluster_starts_ray_with_a_token() -> None:
    config = load(AWS)
    starts = [c for key in ("head", "worker") for c in config[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    assert all(command.startswith("export RAY_AUTH_MODE=token;") for command in starts)
    assert "~/.ray/auth_token" in config["file_mounts"].values()


def test_the_image_installs_from_the_lock_file_and_runs_unprivileged() -> None:
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in text
    assert "RAY_AUTH_MODE=token" in text
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert users == ["1000:1000"]
    assert f"-t fal-video:{project_version()}" in text


def test_the_image_copies_only_what_exists() -> None:
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [s for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for s in line.split()[:-1]]
    assert sources
    assert [s for s in sources if not (ROOT / s).exists()] == []
    assert [s for s in sources if s.rstrip("/") in ignored] == []


def test_no_file_holds_a_credential() -> None:
    pattern = re.compile(r"AKIA[0-9A-Z]{16}|aws_secret_access_key|-----BEGIN|RAY_AUTH_TOKEN\s*[=:]\s*\S", re.IGNORECASE)
    for path in (p for p in CLUSTER.rglob("*") if p.is_file()):
        assert not pattern.search(path.read_text(encoding="utf-8")), path.name
