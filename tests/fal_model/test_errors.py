import pickle

import pytest

from fal_model import errors
from fal_model.errors import ConfigError, FailureKind, FalError, VideoError, printable


def test_kinds_are_their_own_public_names() -> None:
    assert all(kind.value == kind.name.lower() for kind in FailureKind)
    assert FailureKind("decoder_crash") is FailureKind.DECODER_CRASH


@pytest.mark.parametrize("name", ["TaxonomyError", "ManifestError"])
def test_errors_with_lists_are_config_errors(name: str) -> None:
    error = getattr(errors, name)(["a: wrong", "b: wrong"])
    assert isinstance(error, ConfigError)
    assert error.problems == ["a: wrong", "b: wrong"]
    assert str(error) == "a: wrong\nb: wrong"


def test_every_error_is_a_fal_error() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 7
    assert all(issubclass(kind, FalError) for kind in kinds)


def test_a_video_error_carries_kind_stage_and_a_safe_message() -> None:
    error = VideoError(FailureKind.CORRUPT, "bad\x00 data\nin \x1b[31mframe", stage="probe")
    assert (error.kind, error.stage) == (FailureKind.CORRUPT, "probe")
    assert error.message == "bad data in [31mframe"
    assert str(error) == "corrupt: bad data in [31mframe"


def test_a_config_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["a: wrong", "b"])))  # noqa: S301 - made in the line itself, as Ray does
    assert (type(error), error.problems) == (ConfigError, ["a: wrong", "b"])


def test_a_video_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VideoError(FailureKind.TIMEOUT, "slow", "probe")))  # noqa: S301 - same
    assert (error.kind, error.message, error.stage, str(error)) == (
        FailureKind.TIMEOUT,
        "slow",
        "probe",
        "timeout: slow",
    )


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 600) == "x" * 499 + "…"
    assert printable("x" * 500) == "x" * 500
