import subprocess
import sys

import pytest

import fal_model


def test_the_package_gives_the_model() -> None:
    from fal_model.model import FALModel

    assert fal_model.FALModel is FALModel


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fal_model' has no attribute 'Model'"):
        fal_model.Model  # noqa: B018 - the lookup is the test


@pytest.mark.parametrize(
    "module", ["spec", "taxonomy", "errors", "ranges", "flow_codec", "config", "presets", "calibration", "pretrained"]
)
def test_modules_for_drivers_and_decoders_do_not_load_torch(module: str) -> None:
    code = f"import sys, fal_model, fal_model.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_postprocessing_and_metrics_do_not_load_torch() -> None:
    code = "import sys, fal_model.postprocess, fal_model.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_model_loads_nothing_of_the_layers_above() -> None:
    names = ["ray", "av", "cv2", "s3fs", "mlflow", "pyarrow", "pydantic", "pipelines", "jobs"]
    code = f"import sys, fal_model.model, fal_model.checkpoint; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
