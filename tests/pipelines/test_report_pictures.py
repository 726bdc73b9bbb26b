import base64
import json
from pathlib import Path

from pipelines import label_parts, pixels, report_pictures, storage
from pipelines.report_pictures import pictured, read_pictures
from tests.helpers.report_folder import label_row, part_name, picture, write_folder


def test_pictures_are_shrunk_and_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    small = picture()
    strips = {"large": picture(224, 896), "small": small, "text": "bm8gcGljdHVyZQ==", "odd": "%%%", "none": ""}
    pictures = read_pictures(write_folder(tmp_path, [label_row("large")], pictures=strips), list(strips))
    assert set(pictures) == {"large", "small"}
    assert pictures["small"] == small
    assert pixels.decode_jpeg(base64.b64decode(pictures["large"])).shape == (112, 448, 3)


def test_pictures_stop_before_the_page_gets_heavy(tmp_path: Path) -> None:
    strip = picture()
    output = write_folder(tmp_path, [label_row("a")], pictures=dict.fromkeys("abc", strip))
    assert list(read_pictures(output, ["c", "a", "b"], 2 * len(strip))) == ["c", "a"]


def test_names_come_from_all_parts_in_order_and_stop(tmp_path: Path) -> None:
    output = write_folder(tmp_path, pictures={"c": picture(), "a": picture()})
    other = json.dumps({"b": picture()}).encode()
    storage.write_bytes(label_parts.thumbnails_uri(output, part_name(1)), other)
    assert pictured(output) == ["a", "b", "c"]
    assert pictured(output, most=2) == ["a", "b"]
    assert set(read_pictures(output, ["b", "c", "nobody"])) == {"b", "c"}


def test_a_folder_without_pictures_has_none(tmp_path: Path) -> None:
    assert pictured(str(tmp_path)) == []
    assert read_pictures(str(tmp_path), ["a"]) == {}


def test_more_than_a_page_needs_is_not_looked_at(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(report_pictures.MAX_READ + 1)]
    output = write_folder(tmp_path, pictures={names[0]: picture(), names[-1]: picture()})
    assert list(read_pictures(output, names)) == names[:1]
