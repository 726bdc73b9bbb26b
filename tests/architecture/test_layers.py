"""The layers hold: who may import what, and how large a file may become."""

import ast
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fal_model", "pipelines", "jobs")

# The files that may import each library (and what lies below it): one, but of PyAV one that reads and one that writes.
OWNERS = {
    "av": "pipelines/video.py pipelines/stream_facts.py pipelines/video_writer.py pipelines/ffmpeg_builds.py",
    "cv2": "pipelines/pixels.py",
    "s3fs": "pipelines/s3.py pipelines/s3_patience.py",
    "fsspec": "pipelines/s3.py pipelines/s3_listing.py",
    "ray.data": "pipelines/graph.py",
    "ray.train": "jobs/runtime/ray_train.py",
    "ray.serve": "jobs/runtime/ray_serve.py",
    "mlflow": "jobs/runtime/tracking.py",
    "transformers": "",  # of no package: benches and tests compare with it
}
HEAVY = ("ray", "av", "cv2", "s3fs", "fsspec", "mlflow", "pyarrow", "pydantic")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def used_modules(source: str) -> Iterator[str]:
    """Yield the dotted name of every module or name a file takes from elsewhere, ``ray.data`` by attribute included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                yield from (f"{module}.{alias.name}" for alias in aliases)
            case ast.Attribute(value=ast.Name(id="ray"), attr=attribute):
                yield f"ray.{attribute}"
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module
            case _:
                pass


def uses(path: Path, library: str) -> bool:
    names = used_modules(path.read_text(encoding="utf-8"))
    return any(name == library or name.startswith(f"{library}.") for name in names)


@pytest.mark.parametrize(
    "source",
    [
        "import ray.data",
        "import ray.data as rd",
        "from ray import data",
        "from ray.data import Dataset",
        "import ray\nray.data.range(3)",
        "def f():\n    import ray.data.context",
        "import importlib\nimportlib.import_module('ray.data')",
    ],
)
def test_the_scan_sees_every_way_to_import(source: str) -> None:
    assert any(name == "ray.data" or name.startswith("ray.data.") for name in used_modules(source))


def test_the_scan_sees_no_more_than_that() -> None:
    assert list(used_modules("import rayon\nfrom . import data\nx = 'ray.data'")) == ["rayon"]


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_a_library_is_imported_in_its_own_file_only(library: str, owners: str) -> None:
    assert all((ROOT / owner).is_file() for owner in owners.split())
    assert {relative(p) for p in sources(*PACKAGES) if uses(p, library)} <= set(owners.split())


def test_ray_stays_out_of_the_lower_layers() -> None:
    assert [relative(p) for p in sources("fal_model", "pipelines") if uses(p, "ray")] == ["pipelines/graph.py"]


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    env = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def loaded_by(module: str) -> set[str]:
    """Import a module in a fresh process and return the top-level modules that this loads."""
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["fal_model.model", "fal_model.spec"])
def test_the_model_loads_nothing_of_the_pipeline(module: str) -> None:
    loaded = loaded_by(module)
    assert "fal_model" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["fal_model.spec", "fal_model.taxonomy", "fal_model.errors"])
def test_the_shared_words_do_not_load_torch(module: str) -> None:
    assert loaded_by(module).isdisjoint({"torch", "numpy"})


@pytest.mark.parametrize("module", ["pipelines.video", "pipelines.isolation", "pipelines.decode_worker"])
def test_decoding_does_not_load_torch_or_ray(module: str) -> None:
    loaded = loaded_by(module)
    assert "fal_model" in loaded
    assert loaded.isdisjoint({"torch", "ray"})


def test_no_job_hides_a_library() -> None:
    # `python jobs/NAME.py` puts jobs/ first on sys.path: jobs/logging.py would be everybody's logging.
    taken = sys.stdlib_module_names | set(importlib.metadata.packages_distributions()) - set(PACKAGES)
    names = {path.stem for path in (ROOT / "jobs").iterdir() if not path.name.startswith("__")}
    assert "runtime" in names
    assert names.isdisjoint(taken)


def job_scripts() -> list[Path]:
    return [path for path in sorted((ROOT / "jobs").glob("*.py")) if path.name != "__init__.py"]


def test_the_promised_jobs_exist() -> None:
    promised = {"label_corpus", "prepare_corpus", "train", "evaluate", "serve", "plan", "demo"}
    assert promised <= {path.stem for path in job_scripts()}


def test_job_scripts_are_short() -> None:
    long = {p.name: n for p in job_scripts() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 60}
    assert long == {}


def test_job_scripts_can_be_started_by_name() -> None:
    for path in job_scripts():
        assert os.access(path, os.X_OK), f"{path.name} is not executable"
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first_line == "#!/usr/bin/env python3", path.name


def test_files_stay_readable() -> None:
    files = sources(*PACKAGES, "tests", "bench")
    assert Path(__file__) in files
    long = {relative(p): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400}
    assert long == {}


def test_a_test_beside_the_model_s_belongs_to_a_file_of_the_model() -> None:
    # tests/fal_model mirrors fal_model; what needs one library more lies in a folder below, under the same names.
    modules = {path.stem for path in (ROOT / "fal_model").glob("*.py")}
    found = [path for name in ("properties", "peers") for path in sources(f"tests/fal_model/{name}")]
    tests = [path for path in found if path.name.startswith("test_")]
    assert len(tests) > 5
    stems = {relative(path): path.stem.removeprefix("test_") for path in tests}
    assert {p for p, stem in stems.items() if not any(f"{stem}_".startswith(f"{name}_") for name in modules)} == set()
