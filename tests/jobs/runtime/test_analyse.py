"""Videos through the decoder child process, with a model that answers at once."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from fal_model.errors import FailureKind
from jobs.runtime import analyse
from jobs.runtime.analyse import Analysis, Predict, Refusal, VideoAnalyser
from pipelines import storage
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.limits import DecodeLimits
from tests.helpers.serving import TINY, write_small_video

WINDOW_S = TINY.clip.window_s


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    write_small_video(path, duration_s=20 * WINDOW_S)
    return path


def outputs_of(clips: ClipArrays) -> ClipOutputs:
    """Answer with something that depends on the pixels."""
    mean = float(clips.frames_BTHWC.astype(np.float64).mean())
    return ClipOutputs(
        np.full((1, 3), mean, np.float32),
        np.full((1, 4, 3), mean, np.float16),
        np.full((1, 4, 2, 2), round(mean), np.uint8),
        np.full((1, 2), mean, np.float32),
    )


async def at_once(clips: ClipArrays) -> ClipOutputs:
    return outputs_of(clips)


def analysed(predict: Predict, *sources: analyse.Source) -> list[Analysis | Refusal]:
    """Analyse several videos at the same time with one analyser."""

    async def main() -> list[Analysis | Refusal]:
        analyser = VideoAnalyser(TINY.clip, DecodeLimits(), predict)
        try:
            return list(await asyncio.gather(*(analyser.analyse(source) for source in sources)))
        finally:
            analyser.close()

    return asyncio.run(main())


def test_all_clips_are_gathered_in_order(video: Path) -> None:
    (found,) = analysed(at_once, str(video))
    assert isinstance(found, Analysis)
    predictions = found.predictions
    assert [w[0] for w in predictions.windows_s] == pytest.approx([WINDOW_S * i for i in range(20)])
    assert predictions.logits_NK.shape == (20, 3)
    assert predictions.frame_logits_NTK.shape == (20, 4, 3)
    assert predictions.embedding_ND.shape == (20, 2)
    assert len(predictions.frame_times_s) == 20
    assert predictions.duration_s == pytest.approx(20 * WINDOW_S)
    assert predictions.covered_s == pytest.approx(20 * WINDOW_S)
    with video.open("rb") as file:
        assert found.sha256 == storage.sha256_of(file)


def test_a_file_and_its_address_give_the_same_and_the_file_stays_open(video: Path) -> None:
    with video.open("rb") as file:
        by_file, by_uri = analysed(at_once, file, str(video))
        assert not file.closed
    assert isinstance(by_file, Analysis)
    assert isinstance(by_uri, Analysis)
    assert by_file.sha256 == by_uri.sha256
    assert by_file.predictions.frame_times_s == by_uri.predictions.frame_times_s
    np.testing.assert_array_equal(by_file.predictions.logits_NK, by_uri.predictions.logits_NK)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("missing.mp4", None, FailureKind.NOT_FOUND),
        ("empty.mp4", b"", FailureKind.EMPTY_FILE),
        ("text.mp4", b"no video, just words\n", FailureKind.NOT_A_VIDEO),
    ],
)
def test_a_video_that_cannot_be_used_is_refused(
    tmp_path: Path, video: Path, name: str, content: bytes | None, kind: FailureKind
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    bad, good = analysed(at_once, str(tmp_path / name), str(video))
    assert isinstance(bad, Refusal)
    assert bad.kind == kind.value
    assert bad.message
    assert isinstance(good, Analysis)


def test_a_long_video_waits_for_the_model(video: Path) -> None:
    num_open, most = 0, 0

    async def slow(clips: ClipArrays) -> ClipOutputs:
        nonlocal num_open, most
        num_open += 1
        most = max(most, num_open)
        if num_open == analyse.MAX_CLIPS_IN_FLIGHT:
            full.set()
        await full.wait()
        num_open -= 1
        return outputs_of(clips)

    full = asyncio.Event()
    (found,) = analysed(slow, str(video))
    assert isinstance(found, Analysis)
    assert most == analyse.MAX_CLIPS_IN_FLIGHT


def test_a_model_that_fails_is_not_the_videos_fault(video: Path) -> None:
    async def broken(_: ClipArrays) -> ClipOutputs:
        raise ArithmeticError("the model broke")

    with pytest.raises(ArithmeticError, match="the model broke"):
        analysed(broken, str(video))


def test_when_cancelled_the_decoder_ends_and_the_next_video_gets_another(video: Path) -> None:
    async def main() -> None:
        started, never = asyncio.Event(), asyncio.Event()
        is_stuck = True

        async def stuck_at_first(clips: ClipArrays) -> ClipOutputs:
            started.set()
            if is_stuck:
                await never.wait()
            return outputs_of(clips)

        analyser = VideoAnalyser(TINY.clip, DecodeLimits(), stuck_at_first)
        first = asyncio.create_task(analyser.analyse(str(video)))
        await started.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        is_stuck = False
        assert isinstance(await analyser.analyse(str(video)), Analysis)
        pid = analyser._decoder.child_pid
        analyser.close()
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(main())


def test_a_cancelled_step_kills_the_child_it_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_small_video(path, duration_s=WINDOW_S)

    async def main() -> None:
        analyser = VideoAnalyser(TINY.clip, DecodeLimits(), at_once)
        assert isinstance(await analyser.analyse(str(path)), Analysis)
        pid = analyser._decoder.child_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # a decoder that hangs
        task = asyncio.create_task(analyser.analyse(str(path)))
        while not analyser._decoder._is_busy:  # noqa: ASYNC110 - a thread sets it, not this loop
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(main())
