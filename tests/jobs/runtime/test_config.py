"""Settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from fal_model.presets import PRESET_NAMES, preset
from fal_model.spec import ClipSpec, Sampling
from jobs.runtime.config import FalConfig, check_clip, load_config, to_dict

UNIFORM = Sampling.UNIFORM


def problems(*overrides: str, path: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value.problems


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---- where settings come from -------------------------------------------------------------------------------------


def test_without_file_and_overrides_everything_is_the_default() -> None:
    assert load_config(None) == FalConfig()


def test_an_override_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "label: {threshold: 0.25, batch_clips: 7}\ntrain:\n  loss: {leaf_weight: 2}\n")
    config = load_config(path, ["label.threshold=0.75", "train.loss.frame_weight=3", "train.loss.frame_weight=4"])
    assert (config.label.threshold, config.label.batch_clips, config.label.max_labels) == (0.75, 7, 50)
    assert (config.train.loss.leaf_weight, config.train.loss.frame_weight, config.train.loss.hierarchy_weight) == (
        2,
        4,
        1,
    )


@pytest.mark.parametrize("text", ["", "# nothing but words\n", "label:\n  # threshold: 0.9\nclip:\n"])
def test_an_empty_file_and_an_empty_section_change_nothing(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == FalConfig()


def test_an_empty_section_can_be_filled_by_an_override(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "label:\n"), ["label.limit=3"]).label.limit == 3


def test_numbers_may_be_written_as_yaml_reads_them_as_text() -> None:
    # YAML 1.1 takes 1e-4 for a text: it has no dot.
    assert load_config(None, ["train.learning_rate=1e-4"]).train.learning_rate == 1e-4


def test_texts_and_their_absence() -> None:
    config = load_config(None, ["tracking.uri=http://127.0.0.1:5000", "tracking.experiment=a=b", "model.init_from="])
    assert (config.tracking.uri, config.tracking.experiment, config.model.init_from) == (
        "http://127.0.0.1:5000",
        "a=b",
        "",
    )


def test_the_clip_is_none_until_one_of_its_settings_is_given() -> None:
    assert load_config(None).clip is None
    assert load_config(None, ["clip.sampling=uniform"]).clip == replace(preset("fal-nano").clip, sampling=UNIFORM)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_one_clip_setting_changes_no_other_of_the_preset(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "clip: {sampling: uniform}\n")
    expected = replace(preset(name).clip, sampling=UNIFORM, window_s=2.5)
    assert load_config(path, ["clip.window_s=2.5", f"model.preset={name}"]).clip == expected
    path = write(tmp_path, f"model: {{preset: {name}}}\nclip: {{}}\n")
    assert load_config(path).clip == preset(name).clip


def test_a_preset_that_does_not_exist_is_found_when_settings_are_read() -> None:
    message = (
        "model preset: got 'fal-zzz', must be one of ['fal-nano', 'fal-tiny', 'fal-small', 'fal-base', 'fal-375m']"
    )
    assert problems("model.preset=fal-zzz") == [message]
    assert problems("model.preset=fal-zzz", "clip.sampling=uniform") == [message]
    assert problems("model.preset=fal-zzz", "label.threshold=2")[1:] == [
        "label.threshold: got 2: Input should be less than or equal to 1"
    ]
    assert [p.split(": Input")[0] for p in problems("model.preset=5")] == ["model.preset: got 5"]


def test_clip_settings_need_a_preset_to_complete_them() -> None:
    assert [p.split(":")[0] for p in problems("model=5", "clip.sampling=uniform")] == ["override 'model=5'"]


def test_clip_settings_that_agree_with_a_model_or_are_not_given_are_fine() -> None:
    check_clip(load_config(None), ClipSpec(num_frames=3))
    check_clip(load_config(None, ["clip.window_s=2.5"]), replace(preset("fal-nano").clip, window_s=2.5))


def test_clip_settings_that_a_model_decides_are_refused_with_both_values() -> None:
    model = replace(preset("fal-nano").clip, window_s=5.0)
    with pytest.raises(ConfigError) as caught:
        check_clip(load_config(None, ["clip.sampling=uniform", "clip.window_overlap=0.5"]), model)
    (problem,) = caught.value.problems
    assert problem == (
        "clip: the model decides these settings, they were chosen at prepare_corpus: got window_s 10.0, must be the "
        "model's 5.0; got sampling 'uniform', must be the model's 'key_moments'; got window_overlap 0.5, must be the "
        "model's 0.0 (what is not given is taken from model.preset=fal-nano); leave the section out"
    )


def test_what_is_printed_can_be_read_back(tmp_path: Path) -> None:
    config = load_config(None, ["clip.window_s=2.5", "train.loss.leaf_weight=0.5", "corpus.has_broken=false"])
    assert load_config(write(tmp_path, yaml.safe_dump(to_dict(config)))) == config
    assert load_config(write(tmp_path, yaml.safe_dump(to_dict(FalConfig())))) == FalConfig()


# ---- what is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("label.treshold=1", "label.treshold: unknown setting; did you mean label.threshold?"),
        ("lable.threshold=1", "lable: unknown setting; did you mean label?"),
        ("train.loss.leaf_wait=1", "train.loss.leaf_wait: unknown setting; did you mean train.loss.leaf_weight?"),
        ("model.zzz=1", "model.zzz: unknown setting; allowed: init_from, preset"),
        ("label.limit=x", "label.limit: got 'x': Input should be a valid integer"),
        ("label.limit=2.5", "label.limit: got 2.5: Input should be a valid integer"),
        ("label.limit=true", "label.limit: got True: Input should be a number"),
        ("train.learning_rate=yes", "train.learning_rate: got True: Input should be a number"),
        ("train.learning_rate=", "train.learning_rate: got '': Input should be a valid number"),
        ("train.is_bf16=maybe", "train.is_bf16: got 'maybe': Input should be a valid boolean"),
        ("tracking.experiment=5", "tracking.experiment: got 5: Input should be a valid string"),
        ("train.loss=3", "train.loss: got 3: Input should be"),
        ("label.threshold=1.5", "label.threshold: got 1.5: Input should be less than or equal to 1"),
        ("label.threshold=.nan", "label.threshold: got nan: Input should be"),
        ("train.learning_rate=0", "train.learning_rate: got 0: Input should be greater than 0"),
        ("loop.workers=0", "loop.workers: got 0: Input should be greater than or equal to 1"),
        ("train.loss.label_smoothing=1", "train.loss.label_smoothing: got 1: Input should be less than 1"),
        (
            "clip.sampling=often",
            "clip.sampling: got 'often': Input should be 'key_moments', 'keyframes', 'thorough' or 'uniform'",
        ),
        ("clip.size_px=16", "clip.flow_size_px: got 24, must be at most size_px (16)"),
        ("train.total_steps=6", "train.warmup_steps: got 100, must be at most total_steps (6)"),
    ],
)
def test_a_problem_names_the_path_the_value_and_what_is_allowed(override: str, message: str) -> None:
    found = problems(override)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_every_problem_is_listed_at_once() -> None:
    # Wrong name, type and range, and rules between the settings of a section, in several sections, one of them nested.
    found = problems(
        "label.treshold=1",
        "label.limit=x",
        "label.threshold=2",
        "train.total_steps=6",
        "train.loss.frame_weight=-1",
        "clip.size_px=16",
        "loop.workers=0",
        "nonsense",
    )
    assert sorted(p.split(":")[0] for p in found) == [
        "clip.flow_size_px",
        "label.limit",
        "label.threshold",
        "label.treshold",
        "loop.workers",
        "override 'nonsense'",
        "train.loss.frame_weight",
        "train.warmup_steps",
    ]


@pytest.mark.parametrize("text", ["label.limit", "limit=3", "=3", ".limit=3", "label.=3", "label..limit=3", ""])
def test_an_override_has_one_form(text: str) -> None:
    assert problems(text) == [f"override {text!r}: expected section.key=value"]


def test_an_override_whose_value_is_not_yaml_is_refused() -> None:
    assert problems("label.limit=[1") == ["override 'label.limit=[1': the value is not YAML"]


def test_an_override_into_something_that_is_no_section_is_refused(tmp_path: Path) -> None:
    assert problems("label.limit=1", path=write(tmp_path, "label: 3\n"))[0] == "label: got 3, expected a section"
    found = problems("label.limit.more=1", path=write(tmp_path, "label: {limit: 3}\n"))
    assert found == ["label.limit: got 3, expected a section"]


def test_a_section_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    found = problems(path=write(tmp_path, "label: [1]\nclip: 5\n"))
    assert sorted(p.split(":")[0] for p in found) == ["clip", "label"]
    assert all("got" in p and "Input should be" in p for p in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- label\n", "holds list, expected sections"), ("just words", "holds str"), ("label: {", "is not YAML: while")],
)
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (found,) = problems(path=write(tmp_path, text))
    assert found.startswith("--config: ")
    assert message in found


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"label: \xff\xfe")
    assert "is not YAML" in problems(path=str(path))[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert problems(path=str(tmp_path / "none.yaml")) == [
        f"--config: cannot read {str(tmp_path / 'none.yaml')!r}: No such file or directory"
    ]
    assert problems(path=str(tmp_path))[0].endswith("Is a directory")


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(["clip", "label", "train", "limit", "loss", "size_px", "threshold", "x"])


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, YAML_VALUES | st.dictionaries(NAMES, YAML_VALUES, max_size=3), max_size=3))
def test_whatever_a_file_holds_the_answer_is_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("any") / "settings.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    found: list[str] = []
    try:
        config = load_config(str(path))
    except ConfigError as error:
        found = error.problems or ["nothing was said"]
    else:
        path.write_text(yaml.safe_dump(to_dict(config)), encoding="utf-8")
        assert load_config(str(path)) == config
    assert all(": got " in p or ": unknown setting; " in p for p in found)
