from __future__ import annotations

import re
from pathlib import Path

import pytest

from fal_model.errors import ConfigError
from pipelines.importers import formats
from pipelines.importers.annotations import FormatError, TextFile
from pipelines.importers.formats import Format
from pipelines.importers.settings import ImportConfig
from tests.helpers.importing import as_json, text

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "importing.md"
SAMPLES: dict[Format, list[TextFile]] = {
    Format.CSV: [text("a.csv", "uri,label\na.mp4,x\n")],
    Format.KINETICS: [text("a.csv", "label,youtube_id,time_start,time_end\nx,a,0,10\n")],
    Format.UCF101: [text("trainlist01.txt", "x/a.avi 1\n")],
    Format.HMDB51: [text("x_test_split1.txt", "a.avi 1\n")],
    Format.SOMETHING: [as_json("train.json", [{"id": "a", "template": "x"}])],
    Format.ACTIVITYNET: [as_json("a.json", {"database": {"a": {"annotations": [{"label": "x"}]}}})],
    Format.CAPTIONS: [as_json("train.json", {"v_a": {"sentences": [], "timestamps": []}})],
    Format.HACS_CLIPS: [text("a.csv", "classname,youtube_id,subset,start,end,label\nx,a,training,0,2,1\n")],
    Format.THUMOS14: [text("x_val.txt", "a 0 1\n")],
    Format.CHARADES: [text("a_train.csv", "id,subject,actions,length\na,b,x 0 1,2\n")],
    Format.MOMENTS: [text("trainingSet.csv", "x/a.mp4,x,3,0\n")],
    Format.LABEL_STUDIO: [
        as_json("a.json", [{"data": {"video": "a.mp4"}, "annotations": [{"result": [{"value": {"choices": ["x"]}}]}]}])
    ],
}


@pytest.mark.parametrize(("of", "files"), SAMPLES.items())
def test_every_format_reads_its_files_and_asks_for_them(of: Format, files: list[TextFile]) -> None:
    parsed = formats.parse(of, files, {}, ImportConfig())
    assert [(e.labels, e.left_out) for e in parsed.entries] == [(None if of is Format.CAPTIONS else ("x",), None)]
    assert all(formats.is_wanted(of, f.name, ImportConfig()) for f in files)
    assert not formats.is_wanted(of, "clip.mp4", ImportConfig())


def test_every_format_has_a_sample_and_a_line_in_the_document() -> None:
    assert {*SAMPLES, Format.FOLDERS} == set(Format)
    named = re.findall(r"^\| `--format ([a-z0-9-]+)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(Format)


def test_settings_and_columns_reach_the_formats() -> None:
    config = ImportConfig(split_number=2, is_untrimmed=True, frame_rate_fps=10)
    assert formats.is_wanted(Format.UCF101, "testlist02.txt", config)
    assert formats.is_wanted(Format.HMDB51, "x_test_split2.txt", config)
    kinetics = formats.parse(Format.KINETICS, SAMPLES[Format.KINETICS], {}, config)
    assert kinetics.entries[0].segments is not None
    assert kinetics.entries[0].segments[0].unusable is None
    min_row = {
        "video": "a.mp4",
        "id": 1,
        "mood": "calm",
        "tl": [{"ranges": [{"start": 1, "end": 10}], "labels": ["x"]}],
    }
    studio = formats.parse(Format.LABEL_STUDIO, [as_json("a.json", [min_row])], {"label": "mood"}, config)
    assert studio.entries[0].labels == ("calm", "x")
    assert studio.entries[0].segments is not None
    assert (studio.entries[0].segments[0].start, studio.entries[0].segments[0].end) == (0, 1)
    data = {"database": {"a": {"annotations": [], "person": "p"}}}
    grouped = formats.parse(Format.ACTIVITYNET, [as_json("a.json", data)], {"group": "person"}, config)
    assert grouped.entries[0].group == "p"


def test_folders_have_no_files() -> None:
    assert not formats.is_wanted(Format.FOLDERS, "a.csv", ImportConfig())
    with pytest.raises(FormatError, match="the classes are the folders, there is no file to read"):
        formats.parse(Format.FOLDERS, [], {}, ImportConfig())


def test_names_of_formats() -> None:
    assert formats.format_named("hmdb51") is Format.HMDB51
    with pytest.raises(ConfigError, match="--format: got 'avi', allowed are folders, csv, kinetics, ucf101"):
        formats.format_named("avi")


def test_columns_are_pairs_of_what_the_format_takes() -> None:
    assert formats.columns_named("", Format.KINETICS) == {}
    assert formats.columns_named(" uri = file name , label=class,", Format.CSV) == {
        "uri": "file name",
        "label": "class",
    }
    with pytest.raises(ConfigError, match="--columns: the format kinetics takes none"):
        formats.columns_named("uri=a", Format.KINETICS)
    with pytest.raises(ConfigError) as caught:
        formats.columns_named("uri,path=x", Format.CSV)
    assert caught.value.problems == [
        "--columns: got 'path', allowed are uri, label, split, group, duration_s, start_s, end_s",
        "--columns: got 'uri' without a name, expected uri=NAME",
    ]
