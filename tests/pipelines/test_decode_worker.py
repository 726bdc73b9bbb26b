from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from fal_model.spec import ClipSpec
from pipelines.clip_ring import NUM_SLOTS, RingReader
from pipelines.clips import prepare_clips
from pipelines.decode_worker import REQUEST, SMALLEST_VIDEO, TAKEN, DescriptorFile, send_message
from pipelines.isolation import _environment
from pipelines.limits import DecodeLimits
from tests.helpers.video import numbered_video, read_number

ROOT = Path(__file__).resolve().parents[2]
SPEC = ClipSpec(num_frames=2, size_px=32, flow_size_px=4, window_s=2)


@dataclass(slots=True)
class Started:
    """A child as its parent sees it."""

    channel: socket.socket
    process: subprocess.Popen[bytes]
    ring: RingReader
    lifeline: int

    def header(self) -> dict[str, object]:
        data = self.channel.recv(2**16)
        assert data, "the child closed its socket"
        header = json.loads(data)
        assert isinstance(header, dict)
        return header

    def request(self, path: Path) -> None:
        with path.open("rb") as file:
            self.request_descriptor(file.fileno())

    def request_descriptor(self, descriptor: int) -> None:
        socket.send_fds(self.channel, [REQUEST.pack(os.fstat(descriptor).st_size, 0, 1000)], [descriptor])


@contextmanager
def started(limits: DecodeLimits | None = None) -> Iterator[Started]:
    ring = RingReader(SPEC)
    lifeline, our_end = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    options = {
        "channel": theirs.fileno(),
        "ring": ring.descriptor,
        "lifeline": lifeline,
        "spec": SPEC.to_dict(),
        "limits": (limits or DecodeLimits()).to_dict(),
    }
    given = (theirs.fileno(), ring.descriptor, lifeline)
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.decode_worker", json.dumps(options)],
        pass_fds=given,
        cwd=ROOT,
        env=_environment(),
    ) as process:
        theirs.close()
        os.close(ring.descriptor)
        os.close(lifeline)
        child = Started(ours, process, ring, our_end)
        ours.settimeout(60)
        with ours:
            assert child.header() == {"type": "ready", "unconfined": ""}
            yield child
        if child.lifeline >= 0:
            os.close(child.lifeline)


def test_a_request_is_answered_with_facts_clips_and_an_end(tmp_path: Path) -> None:
    with started() as child:
        for _ in range(2):  # the same process takes one video after another
            child.request(numbered_video(tmp_path / "a.mp4", 10))
            info = child.header()
            assert (info["type"], info["num_frames"], info["codec"]) == ("info", 10, "h264")
            clip = child.header()
            assert (clip["type"], clip["index"]) == ("clip", 0)
            frames_THWC = child.ring.take(0)["frames_THWC"]
            assert [read_number(frame) for frame in frames_THWC] == [
                round(10 * time_s) for time_s in cast("list[float]", clip["frame_times_s"])
            ]
            child.channel.send(TAKEN)
            assert child.header() == {"type": "end"}
        child.channel.shutdown(socket.SHUT_RDWR)
        assert child.process.wait(30) == 0


def test_a_place_is_used_again_only_after_the_parent_has_copied_it(tmp_path: Path) -> None:
    numbered_video(tmp_path / "a.mp4", 120)  # 12 s: 6 windows
    with started() as child:
        child.request(tmp_path / "a.mp4")
        assert child.header()["type"] == "info"
        for number in range(NUM_SLOTS):
            assert child.header()["index"] == number
        child.channel.settimeout(0.3)
        with pytest.raises(TimeoutError):  # it waits, for both places are full
            child.header()
        child.channel.settimeout(60)
        for number in range(6):
            numbers = [read_number(frame) for frame in child.ring.take(number)["frames_THWC"]]
            assert all(20 * number <= seen < 20 * number + 20 for seen in numbers)
            child.channel.send(TAKEN)
            if number + NUM_SLOTS < 6:
                assert child.header()["index"] == number + NUM_SLOTS
        assert child.header() == {"type": "end"}


def test_bad_videos_cost_the_next_one_no_processor_time(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200_000))
    with started(DecodeLimits(total_wall_time_s=1)) as child:
        spent_s = 0.0
        while spent_s < 4:
            child.request(tmp_path / "bad.mp4")
            assert child.header()["type"] == "error"
            fields = Path(f"/proc/{child.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            spent_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        child.request(numbered_video(tmp_path / "a.mp4", 10))
        assert child.header()["type"] == "info"


def test_a_bad_video_is_answered_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with started() as child:
        child.request(tmp_path / "empty")
        assert child.header() == {
            "type": "error",
            "kind": "empty_file",
            "message": "the file is empty",
            "stage": "open",
        }
        child.channel.shutdown(socket.SHUT_RDWR)
        assert child.process.wait(30) == 0


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with started() as child:
        child.request_descriptor(descriptor)
        os.close(descriptor)
        assert child.header()["kind"] == "not_a_file"


def test_the_process_gives_up_what_it_does_not_need() -> None:
    with started(DecodeLimits(memory_bytes=2**31)) as child:
        for what, most in (
            (resource.RLIMIT_AS, 2**31),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, 0),
            (resource.RLIMIT_NOFILE, 64),
        ):
            assert resource.prlimit(child.process.pid, what) == (most, most)
        assert resource.prlimit(child.process.pid, resource.RLIMIT_CPU)[0] > 0
        status = Path(f"/proc/{child.process.pid}/status").read_text().split("\n")
        facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        assert (facts["NoNewPrivs"], facts["Seccomp"], facts["Threads"]) == ("1", "2", "1")


def test_the_process_ends_with_its_parents_socket() -> None:
    with started() as child:
        child.channel.close()
        assert child.process.wait(30) == 0


def test_the_process_is_killed_when_its_lifeline_is_cut() -> None:
    with started() as child:
        os.close(child.lifeline)
        child.lifeline = -1
        assert child.process.wait(30) == -signal.SIGKILL


def test_a_process_whose_parent_is_gone_already_ends() -> None:
    lifeline, our_end = os.pipe()
    os.close(our_end)
    options = {"lifeline": lifeline, "spec": SPEC.to_dict(), "limits": DecodeLimits().to_dict()}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.decode_worker", json.dumps(options)],
        pass_fds=[lifeline],
        cwd=ROOT,
        check=False,
    )
    os.close(lifeline)
    assert done.returncode in {0, -signal.SIGKILL}


def test_the_built_in_video_goes_the_whole_way() -> None:
    spec = ClipSpec(num_frames=2, size_px=32, flow_size_px=8)
    info, clips = prepare_clips(io.BytesIO(SMALLEST_VIDEO), spec, DecodeLimits())
    assert (info.codec, info.num_frames) == ("vp8", 4)
    (clip,) = clips
    assert clip.flow_valid_T.all()
    assert clip.num_substituted == 0


def test_late_imports_come_early() -> None:
    """After the warm-up nothing is imported any more, for no file can be opened then."""
    code = (
        "import sys; from pipelines import decode_worker; decode_worker.warm_up()\n"
        "print(*sorted({'numpy.ma', 'av.subtitles.codeccontext', 'av.subtitles.stream'} - set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_worker_loads_no_heavy_libraries() -> None:
    code = (
        "import sys, pipelines.decode_worker; print(sorted({'torch', 'ray', 'pyarrow', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_descriptor_is_read_by_position(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with (tmp_path / "a").open("rb", buffering=0) as file:
        with DescriptorFile(os.dup(file.fileno()), 100) as raw:
            assert (raw.readable(), raw.seekable()) == (True, True)
            assert raw.seek(90) == 90
            assert raw.read(4) == bytes(range(90, 94))
            assert raw.tell() == 94
            assert raw.seek(-2, io.SEEK_END) == 98
            assert raw.read() == bytes([98, 99])
            assert raw.seek(-50, io.SEEK_CUR) == 50
            with pytest.raises(OSError, match="seek to -1, before the start of the file"):
                raw.seek(-1)
        assert file.tell() == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(raw._descriptor)


def test_a_message_is_one_packet() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send_message(ours, {"type": "x"})
        send_message(ours, {"type": "y"})
        assert theirs.recv(2**16) == b'{"type": "x"}'
        assert theirs.recv(2**16) == b'{"type": "y"}'
