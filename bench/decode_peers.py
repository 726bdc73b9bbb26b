"""The contestants of bench/decode.py, and the process that runs one library's: requests in, measurements out.

Each delivers NUM_FRAMES frames of a file, the centres of equal parts, as SIZE_PX square RGB bytes, in the cheapest way
its documentation names, with one thread. Libraries are imported in the process of their own contestant only.
Run by bench/decode.py as: python bench/decode_peers.py LIBRARY CORE
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NUM_FRAMES = 8
SIZE_PX = 224
THUMB_PX = 14

Frames = npt.NDArray[np.uint8]
Deliver = Callable[[list[str]], list[Frames]]

decoded_by_fal: list[int] = []
"""Frames that came out of FAL's decoder, for each video of the request; those it was told to skip are none."""

CONTESTANTS = {
    "FAL key moments + flow": ("fal", "key_moments+flow"),
    "FAL key moments": ("fal", "key_moments"),
    "FAL keyframes + flow": ("fal", "keyframes+flow"),
    "FAL keyframes": ("fal", "keyframes"),
    "FAL uniform + flow": ("fal", "uniform+flow"),
    "FAL uniform": ("fal", "uniform"),
    "torchcodec exact": ("torchcodec", "exact"),
    "torchcodec approximate": ("torchcodec", "approximate"),
    "torchcodec + OpenCV resize": ("torchcodec", "approximate, full size"),
    "decord": ("decord", "resized"),
    "OpenCV in order": ("opencv", "in order"),
    "OpenCV seek": ("opencv", "seek"),
    "PyAV in order": ("pyav", "in order"),
    "ray.data.read_videos": ("ray", "resized"),
}
"""Name in the tables: library, variant."""


def centres(num_frames: int) -> list[int]:
    """Return the frame at the centre of each of NUM_FRAMES equal parts of a video."""
    return [int((k + 0.5) * num_frames / NUM_FRAMES) for k in range(NUM_FRAMES)]


def fal() -> tuple[str, dict[str, Deliver]]:
    """FAL: one clip for the whole video."""
    import av

    from fal_model.spec import ClipSpec, Sampling
    from pipelines.clips import clips_of
    from pipelines.limits import DecodeLimits
    from pipelines.pictures import PictureReader

    def variant(sampling: Sampling, *, with_flow: bool) -> Deliver:
        spec = ClipSpec(num_frames=NUM_FRAMES, size_px=SIZE_PX, window_s=600, sampling=sampling)

        def deliver(paths: list[str]) -> list[Frames]:
            with Path(paths[0]).open("rb") as file, closing(PictureReader(file, DecodeLimits())) as reader:
                (clip,) = clips_of(reader, spec, with_flow=with_flow)
                decoded_by_fal.append(reader.video.num_decoded)
            return [clip.frames_THWC]

        return deliver

    versions = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
    return versions, {
        "key_moments+flow": variant(Sampling.KEY_MOMENTS, with_flow=True),
        "key_moments": variant(Sampling.KEY_MOMENTS, with_flow=False),
        "keyframes+flow": variant(Sampling.KEYFRAMES, with_flow=True),
        "keyframes": variant(Sampling.KEYFRAMES, with_flow=False),
        "uniform+flow": variant(Sampling.UNIFORM, with_flow=True),
        "uniform": variant(Sampling.UNIFORM, with_flow=False),
    }


def torchcodec() -> tuple[str, dict[str, Deliver]]:
    """Torchcodec: its own resize inside the decoder, or OpenCV's after it, which is faster for small pictures."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    module, decoders = importlib.import_module("torchcodec"), importlib.import_module("torchcodec.decoders")
    resize = importlib.import_module("torchcodec.transforms").Resize((SIZE_PX, SIZE_PX))
    ffmpeg = importlib.import_module("torchcodec._core").get_ffmpeg_library_versions()["ffmpeg_version"]

    def variant(seek_mode: str) -> Deliver:
        def deliver(paths: list[str]) -> list[Frames]:
            decoder = decoders.VideoDecoder(
                paths[0], seek_mode=seek_mode, num_ffmpeg_threads=1, transforms=[resize], dimension_order="NHWC"
            )
            return [decoder.get_frames_at(centres(decoder.metadata.num_frames)).data.numpy()]

        return deliver

    def full_size(paths: list[str]) -> list[Frames]:
        decoder = decoders.VideoDecoder(paths[0], seek_mode="approximate", num_ffmpeg_threads=1, dimension_order="NHWC")
        frames = decoder.get_frames_at(centres(decoder.metadata.num_frames)).data.numpy()
        return [np.stack([cv2.resize(frame_HWC, (SIZE_PX, SIZE_PX)) for frame_HWC in frames])]

    own = {mode: variant(mode) for mode in ("exact", "approximate")}
    return f"torchcodec {module.__version__}, FFmpeg {ffmpeg}", own | {"approximate, full size": full_size}


def decord() -> tuple[str, dict[str, Deliver]]:
    """Decord: its own resize, one thread, one batch."""
    module = importlib.import_module("decord")
    folder = Path(str(module.__file__)).parents[1] / "decord.libs"
    codec = next((file.name for file in sorted(folder.glob("libavcodec*"))), "unknown")

    def deliver(paths: list[str]) -> list[Frames]:
        reader = module.VideoReader(paths[0], width=SIZE_PX, height=SIZE_PX, num_threads=1)
        return [reader.get_batch(centres(len(reader))).asnumpy()]

    return f"decord {module.__version__}, {codec}", {"resized": deliver}


def opencv() -> tuple[str, dict[str, Deliver]]:
    """OpenCV: ``grab`` what is passed over, or set the position; its fastest resize."""
    import cv2

    cv2.setNumThreads(1)

    def picture(capture: Any) -> Frames:
        is_good, bgr_HWC = capture.retrieve()
        if not is_good:
            raise RuntimeError("a frame could not be read")
        return np.asarray(cv2.cvtColor(cv2.resize(bgr_HWC, (SIZE_PX, SIZE_PX)), cv2.COLOR_BGR2RGB))

    def opened(path: str) -> Any:
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise RuntimeError("not opened")
        return capture

    def in_order(paths: list[str]) -> list[Frames]:
        capture, pictures, at = opened(paths[0]), [], -1
        for wanted in centres(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
            while at < wanted:
                capture.grab()
                at += 1
            pictures.append(picture(capture))
        capture.release()
        return [np.stack(pictures)]

    def seek(paths: list[str]) -> list[Frames]:
        capture, pictures = opened(paths[0]), []
        for wanted in centres(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
            capture.set(cv2.CAP_PROP_POS_FRAMES, wanted)
            capture.grab()
            pictures.append(picture(capture))
        capture.release()
        return [np.stack(pictures)]

    build = cv2.getBuildInformation()
    codec = next((line.split(":")[1].split()[1] for line in build.splitlines() if "avcodec:" in line), "unknown")
    return f"OpenCV {cv2.__version__}, libavcodec {codec}", {"in order": in_order, "seek": seek}


def pyav() -> tuple[str, dict[str, Deliver]]:
    """PyAV: decode in order, convert and scale only what is wanted, stop after the last."""
    import av

    def deliver(paths: list[str]) -> list[Frames]:
        with av.open(paths[0]) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            num_frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            if not stream.frames:
                container.seek(0)
            wanted = centres(num_frames)
            pictures: dict[int, Frames] = {}
            for index, frame in enumerate(container.decode(stream)):
                if index in wanted:
                    scaled = frame.reformat(SIZE_PX, SIZE_PX, "rgb24")
                    pictures[index] = np.asarray(scaled.to_ndarray(), np.uint8)
                if index >= wanted[-1]:
                    break
        return [np.stack([pictures[index] for index in wanted])]

    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}", {"in order": deliver}


def ray() -> tuple[str, dict[str, Deliver]]:
    """Ray Data: all frames of all files as rows, resized as they are read; the wanted ones are picked from them."""
    import ray as module

    importlib.import_module("decord")  # fails here rather than inside a task
    data = importlib.import_module("ray.data")
    module.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=2**30)
    data.DataContext.get_current().enable_progress_bars = False

    def deliver(paths: list[str]) -> list[Frames]:
        frames: dict[str, dict[int, Frames]] = {}
        rows = data.read_videos(paths, include_paths=True, resize=(SIZE_PX, SIZE_PX))
        for row in rows.iter_rows():
            frames.setdefault(row["path"], {})[row["frame_index"]] = row["frame"]
        return [np.stack([frames[path][i] for i in centres(len(frames[path]))]) for path in paths]

    return f"Ray {module.__version__}", {"resized": deliver}


LIBRARIES = {"fal": fal, "torchcodec": torchcodec, "decord": decord, "opencv": opencv, "pyav": pyav, "ray": ray}


def tree() -> list[int]:
    """Return the process ids of this process and all below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it ended meanwhile
                continue
    found = [os.getpid()]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def cpu_s(pids: list[int]) -> float:
    """Return user and system time; of more than one process, in the kernel's ticks."""
    if pids == [os.getpid()]:
        return time.process_time()
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])  # own and of ended children
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pids: list[int], field: str) -> float:
    """Sum a field of the processes' status: VmRSS now, VmHWM at most since the last reset."""
    total_kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total_kib += int(line.split()[1])
    return total_kib / 1024


def thumbs(frames_THWC: Frames) -> list[list[int]]:
    """Return what tells frames apart, whatever scaler made them: mean gray of cells."""
    if frames_THWC.shape != (NUM_FRAMES, SIZE_PX, SIZE_PX, 3) or frames_THWC.dtype != np.uint8:
        raise RuntimeError(f"delivered {frames_THWC.dtype} {frames_THWC.shape}")
    cell = SIZE_PX // THUMB_PX
    cells = frames_THWC.reshape(NUM_FRAMES, THUMB_PX, cell, THUMB_PX, cell, 3).mean(axis=(2, 4, 5))
    return [[int(v) for v in row] for row in np.rint(cells.reshape(NUM_FRAMES, -1))]


def first_line(error: Exception) -> str:
    """Say which error it is, and the first line of its message, if it has one."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def main() -> None:
    """Answer requests, one JSON line each, until there are no more."""
    library, core = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, {core})
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like a reply

    def reply(answer: dict[str, Any]) -> None:
        replies.write(json.dumps(answer) + "\n")
        replies.flush()

    try:
        versions, variants = LIBRARIES[library]()
    except Exception as error:  # noqa: BLE001 - a library that does not load is an outcome to show
        reply({"error": first_line(error)})
        return
    base_mib = memory_mib(tree(), "VmRSS")
    reply({"versions": versions})
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("reset"):
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            for pid in tree():
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        reply(measured(library, variants[request["variant"]], request, base_mib))


def measured(library: str, deliver: Deliver, request: dict[str, Any], base_mib: float) -> dict[str, Any]:
    """Deliver the frames of the request's files under the clocks."""
    paths: list[str] = request["paths"]
    decoded_by_fal.clear()
    wall_s, used_s = time.monotonic(), cpu_s(tree())
    try:
        delivered = deliver(paths)
        wall_s, used_s = time.monotonic() - wall_s, cpu_s(tree()) - used_s
        answer: dict[str, Any] = {
            "wall_s": wall_s,
            "cpu_s": used_s,
            "decoded": sum(decoded_by_fal) if library == "fal" else None,
        }
        if request.get("count"):
            answer["thumbs"] = [thumbs(frames_THWC) for frames_THWC in delivered]
    except Exception as error:  # noqa: BLE001 - a file that a library cannot read is an outcome to show
        answer = {"error": first_line(error)}
    return answer | {"peak_mib": memory_mib(tree(), "VmHWM") - base_mib}


if __name__ == "__main__":
    main()
