"""What the bench of shards compares comes back as it should, and its measures know better from worse."""

from __future__ import annotations

import numpy as np
import pytest

from bench import shard_codecs
from bench.shard_codecs import Codec, psnr_db, ssim

LOSSY = [
    shard_codecs.jpeg(90),
    shard_codecs.full_colour_jpeg(90),
    shard_codecs.fitted_jpeg(90),
    shard_codecs.webp(90),
    shard_codecs.avif(90),
    shard_codecs.h264(18),
]


def pictures() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Make a soft pattern that moves, in colour."""
    y, x, t = np.meshgrid(np.arange(48), np.arange(48), np.arange(4), indexing="ij")
    waves = [127 + 100 * np.sin((x * a + y * b) / 9 + t / 3) for a, b in ((1, 0), (0, 1), (1, 1))]
    return np.stack(waves, axis=-1).transpose(2, 0, 1, 3).astype(np.uint8)


def there_and_back(codec: Codec) -> tuple[float, float, int]:
    frames = pictures()
    stored = codec.encode(frames)
    back = np.zeros_like(frames)
    codec.decode(stored, back)
    return psnr_db(frames, back), ssim(frames[1], back[1]), sum(map(len, stored))


@pytest.mark.parametrize("codec", LOSSY, ids=lambda codec: codec.name)
def test_lossy_ways_give_nearly_the_same_pictures_from_fewer_bytes(codec: Codec) -> None:
    decibels, likeness, num_bytes = there_and_back(codec)
    assert 30 < decibels < 60
    assert 0.95 < likeness < 1
    assert num_bytes < pictures().nbytes / 2


@pytest.mark.parametrize("codec", [shard_codecs.raw(), shard_codecs.raw_zstd()], ids=lambda codec: codec.name)
def test_ways_without_loss_give_the_same_pictures(codec: Codec) -> None:
    assert there_and_back(codec)[:2] == (100.0, 1.0)


def test_a_higher_quality_is_nearer_and_larger() -> None:
    found = [there_and_back(shard_codecs.jpeg(quality)) for quality in (30, 60, 90)]
    for measure in range(3):
        assert [f[measure] for f in found] == sorted(f[measure] for f in found)


def test_the_measures_on_known_errors() -> None:
    frames = pictures()
    assert psnr_db(frames[0], frames[0] + 1) == pytest.approx(48.13, abs=0.01)
    noise = np.random.default_rng(0).integers(0, 256, frames[0].shape, np.uint8)
    assert ssim(frames[0], noise) < 0.1
