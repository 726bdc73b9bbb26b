"""What holds in a clip of a labelled video."""

from __future__ import annotations

from pipelines.clip_truth import clip_truth

RUN = {"label": "run", "start_s": 1.0, "end_s": 3.0}


def test_a_label_with_segments_holds_at_frames_within_them() -> None:
    truth = clip_truth({"labels": ["run"], "segments": [RUN]}, [0.5, 1.0, 2.9, 3.0])
    assert truth == (["run"], [[], ["run"], ["run"], []])
    assert clip_truth({"labels": ["run"], "segments": [RUN]}, [4.0]) == ([], [[]])


def test_a_label_without_segments_holds_in_every_clip_and_nobody_knows_when() -> None:
    assert clip_truth({"labels": ["run", "news"], "segments": [RUN]}, [4.0]) == (["news"], None)
    assert clip_truth({"labels": ["news"], "segments": None}, [4.0]) == (["news"], None)
    assert clip_truth({"labels": [], "segments": []}, [4.0]) == ([], [[]])
