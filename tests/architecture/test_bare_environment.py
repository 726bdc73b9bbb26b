"""The model runs, and passes its tests, where there is nothing but what it requires and pytest."""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.bare import ROOT, BarePython, closure, modules_of_others

DISTRIBUTIONS = closure("torch", "numpy", "safetensors", "huggingface_hub", "pytest")
TESTS = ROOT / "tests" / "fal_model"

SAVE_AND_LOAD = """
import sys, torch
from fal_model.model import FALModel

model = FALModel.from_preset("fal-nano").eval()
model.save_pretrained(sys.argv[1])
same = FALModel.from_pretrained(sys.argv[1]).eval()
weights = same.state_dict()
assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
inputs = model.example_inputs(1)
with torch.no_grad():
    for one, other in zip(model(**inputs), same(**inputs), strict=True):
        torch.testing.assert_close(one, other)
print(len(weights))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    return BarePython(tmp_path_factory.mktemp("bare") / "env", DISTRIBUTIONS)


@pytest.fixture(scope="module")
def barest(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    """Give what a machine for benches may have: no hub, no pytest."""
    return BarePython(tmp_path_factory.mktemp("barest") / "env", closure("torch", "numpy", "safetensors"))


def test_what_is_required_is_followed_to_its_end() -> None:
    # sympy is required by torch, mpmath by sympy; hypothesis only by an extra of others.
    assert {"torch", "sympy", "mpmath", "pluggy", "huggingface-hub", "filelock"} <= DISTRIBUTIONS
    assert DISTRIBUTIONS.isdisjoint({"hypothesis", "transformers", "pydantic", "ray"})


def test_nothing_else_can_be_imported(bare: BarePython, tmp_path: Path) -> None:
    others = [name for name in modules_of_others(DISTRIBUTIONS) if name not in sys.stdlib_module_names]
    assert {"ray", "av", "cv2", "pydantic", "hypothesis", "transformers"} <= set(others)
    code = "import sys; from importlib.util import find_spec; print([n for n in sys.argv[1:] if find_spec(n)])"
    done = bare.run("-c", code, *others, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_model_is_made_stored_and_read(barest: BarePython, tmp_path: Path) -> None:
    done = barest.run("-W", "error", "-c", SAVE_AND_LOAD, str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.slow
def test_the_model_s_speed_is_measured(barest: BarePython, tmp_path: Path) -> None:
    smallest = ["--preset", "fal-nano", "--quick", "--ways", "eager", "--dtype", "fp32", "--batch", "1"]
    done = barest.run("-W", "error", "bench/model.py", *smallest, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "| fal-nano | eager | fp32 | 1 |" in done.stdout
    assert "transformers is not installed here" in done.stdout


def files(folder: Path) -> set[str]:
    """Return the test modules of a folder by the names that a report gives them."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in folder.glob("test_*.py")}


@pytest.mark.slow
def test_the_model_s_tests_pass(bare: BarePython, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    places = [f"--junitxml={report}", f"--basetemp={tmp_path / 'work'}"]
    # The slow ones are compilations, minutes each, and the suite around this test runs them.
    quick = ["-p", "no:cacheprovider", "-m", "not slow"]
    done = bare.run("-m", "pytest", TESTS.relative_to(ROOT).as_posix(), *quick, *places)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

    passed, skipped = [], {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        reason = case.find("skipped")
        place = f"{case.get('classname')}.{case.get('name')}".lstrip(".")
        if reason is None:
            passed.append(str(case.get("classname")))
        else:
            skipped[place] = f"{reason.get('message')} {reason.text}"
    assert len(passed) > 300
    assert set(passed) >= files(TESTS)

    properties, peers = files(TESTS / "properties"), files(TESTS / "peers")
    assert properties
    assert {place for place, why in skipped.items() if "hypothesis is not installed" in why} == properties
    assert {place for place, why in skipped.items() if "transformers is not installed" in why} == peers
    rest = {place: why for place, why in skipped.items() if place not in properties | peers}
    assert {place: why for place, why in rest.items() if "CUDA" not in why} == {}
