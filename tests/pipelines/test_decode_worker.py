from __future__ import annotations

import io
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fal_model.spec import ClipSpec
from pipelines.decode_worker import HEADER, DescriptorFile, send_message
from pipelines.limits import DecodeLimits
from tests.helpers.video import numbered_video

ROOT = Path(__file__).resolve().parents[2]
SPEC = ClipSpec(num_frames=2, size_px=16, flow_size_px=4)


def receive(channel: socket.socket, num_bytes: int) -> bytes:
    data = b""
    while len(data) < num_bytes:
        more = channel.recv(num_bytes - len(data))
        assert more, "the child closed its socket"
        data += more
    return data


def receive_header(channel: socket.socket) -> dict[str, object]:
    (num_bytes,) = HEADER.unpack(receive(channel, HEADER.size))
    header = json.loads(receive(channel, num_bytes))
    assert isinstance(header, dict)
    return header


def started(limits: DecodeLimits | None = None) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipelines.decode_worker",
                str(theirs.fileno()),
                json.dumps((limits or DecodeLimits()).to_dict()),
            ],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
        )
    ours.settimeout(60)
    assert receive_header(ours) == {"type": "ready"}
    return ours, child


def request(channel: socket.socket, path: Path) -> None:
    data = json.dumps(SPEC.to_dict()).encode()
    with path.open("rb") as file:
        socket.send_fds(channel, [HEADER.pack(len(data)) + data], [file.fileno()])


def test_a_request_is_answered_with_facts_clips_and_an_end(tmp_path: Path) -> None:
    channel, child = started()
    with child, channel:
        for _ in range(2):  # the same process takes one video after another
            request(channel, numbered_video(tmp_path / "a.mp4", 10))
            info = receive_header(channel)
            assert (info["type"], info["num_frames"], info["codec"]) == ("info", 10, "h264")
            clip = receive_header(channel)
            assert (clip["type"], clip["index"]) == ("clip", 0)
            receive(channel, 2 * 16 * 16 * 3 + 2 * 4 * 4 * 2 + 2)
            assert receive_header(channel) == {"type": "end"}
        channel.shutdown(socket.SHUT_RDWR)
        assert child.wait(30) == 0


def test_bad_videos_cost_the_next_one_no_processor_time(tmp_path: Path) -> None:
    channel, child = started(DecodeLimits(total_wall_time_s=1))
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200_000))
    with child, channel:
        spent_s = 0.0
        while spent_s < 4:
            request(channel, tmp_path / "bad.mp4")
            assert receive_header(channel)["type"] == "error"
            fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            spent_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        request(channel, numbered_video(tmp_path / "a.mp4", 10))
        assert receive_header(channel)["type"] == "info"


def test_a_bad_video_is_answered_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    channel, child = started()
    with child, channel:
        request(channel, tmp_path / "empty")
        assert receive_header(channel) == {
            "type": "error",
            "kind": "empty_file",
            "message": "the file is empty",
            "stage": "open",
        }
        channel.shutdown(socket.SHUT_RDWR)
        assert child.wait(30) == 0


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    channel, child = started()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with child, channel:
        data = json.dumps(SPEC.to_dict()).encode()
        socket.send_fds(channel, [HEADER.pack(len(data)) + data], [descriptor])
        os.close(descriptor)
        assert receive_header(channel)["kind"] == "not_a_file"
        channel.shutdown(socket.SHUT_RDWR)


def test_the_process_gives_up_what_it_does_not_need() -> None:
    channel, child = started(DecodeLimits(memory_bytes=2**31))
    with child, channel:
        limits = {
            what: resource.prlimit(child.pid, what)
            for what in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
        }
        assert limits[resource.RLIMIT_AS] == (2**31, 2**31)
        assert limits[resource.RLIMIT_FSIZE] == limits[resource.RLIMIT_CORE] == (0, 0)
        assert limits[resource.RLIMIT_NOFILE] == (64, 64)
        assert resource.prlimit(child.pid, resource.RLIMIT_CPU)[0] > 0
        channel.shutdown(socket.SHUT_RDWR)
        assert child.wait(30) == 0


def test_the_process_ends_with_its_parents_socket() -> None:
    channel, child = started()
    with child:
        channel.close()
        assert child.wait(30) == 0


def test_the_worker_loads_no_heavy_libraries() -> None:
    code = (
        "import sys, pipelines.decode_worker; print(sorted({'torch', 'ray', 'pyarrow', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_descriptor_is_read_by_position(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with (tmp_path / "a").open("rb", buffering=0) as file:
        with DescriptorFile(os.dup(file.fileno())) as raw:
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


def test_a_message_is_its_length_its_header_and_its_bytes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_message(ours, {"type": "x"}, memoryview(b"abc"))
        assert receive_header(theirs) == {"type": "x"}
        assert receive(theirs, 3) == b"abc"
