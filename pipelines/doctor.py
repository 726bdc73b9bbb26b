"""What this machine has and what it lacks, on one screen, for when something does not work: the doctor.

Run it as ``python -m pipelines.doctor``. Nothing heavy is imported before it is looked at, so that a broken
installation is told rather than met.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.limits import DecodeLimits
from pipelines.sniff import DECODERS, DEMUXERS

if TYPE_CHECKING:  # PyAV may be what is broken
    from pipelines.ffmpeg_builds import FFmpegBuild

GIB = 2**30
LEAST_MEMORY_BYTES = 4 * GIB
LEAST_DISK_BYTES = 5 * GIB
LEAST_SHARED_BYTES = GIB
LEAST_OPEN_FILES = 1024
NEEDED_PACKAGES = ("av", "numpy", "opencv-python-headless", "pyarrow")
JOB_PACKAGES = ("torch", "ray", "mlflow", "s3fs", "fastapi")
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Names of variables that are looked for; their values are never looked at."""


class Status(StrEnum):
    """How good a fact is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing found out about the machine.

    Attributes:
        name: What was looked at.
        status: Whether it is as needed.
        found: What it is.
        advice: What to do about it; empty if all is well.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def fact(name: str, found: str, problem: str = "", *, is_fatal: bool = False) -> Fact:
    """Make a fact: well, unless there is a problem, which says what to do."""
    bad = Status.FAIL if is_fatal else Status.WARN
    return Fact(name, bad if problem else Status.OK, found, problem)


def python_fact(version: str) -> Fact:
    """Say whether this version of Python is the one that FAL is for."""
    is_right = version.startswith("3.11.")
    return fact("Python", version, "" if is_right else "Python 3.11 is needed: make setup", is_fatal=not is_right)


def machine_facts(cgroup: Path = Path("/sys/fs/cgroup")) -> list[Fact]:
    """Look at Python, the processor and the memory, with the limits of a container.

    Args:
        cgroup: Where the kernel tells the limits of a container.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup_value(cgroup / "memory.max")
    memory = min(total, limit) if limit is not None else total
    quota, _, period = _cgroup_text(cgroup / "cpu.max").partition(" ")
    share = f", container {int(quota) / int(period):g}" if quota.isdecimal() and period else ""
    cores = f"{os.cpu_count()} cores, {len(os.sched_getaffinity(0))} usable{share}"
    text = f"{_gib(total)}" if limit is None else f"{_gib(total)}, container {_gib(limit)}"
    little = f"a child may use {_gib(DecodeLimits().memory_bytes)} by default: set limits.memory_bytes lower"
    return [
        python_fact(platform.python_version()),
        fact("platform", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        fact("processor", cores),
        fact("memory", text, little if memory < LEAST_MEMORY_BYTES else ""),
    ]


def space_facts(shared: Path = Path("/dev/shm")) -> list[Fact]:  # noqa: S108 - looked at, nothing is written there
    """Look at the disks, the shared memory and the limit on open files.

    Args:
        shared: Where shared memory is mounted.
    """
    facts = []
    for name, place in (("disk, here", Path.cwd()), ("disk, temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        full = f"make room, or choose another place: at least {_gib(LEAST_DISK_BYTES)} should be free"
        facts.append(fact(name, f"{_gib(free)} free", full if free < LEAST_DISK_BYTES else ""))
    size = shutil.disk_usage(shared).total if shared.is_dir() else 0
    small = f"Ray keeps objects there: start the container with --shm-size={LEAST_SHARED_BYTES // GIB}g or more"
    facts.append(fact("shared memory", f"{_gib(size)} at {shared}", small if size < LEAST_SHARED_BYTES else ""))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = f"Ray and S3 need more: ulimit -n {65536 if hard == resource.RLIM_INFINITY else hard}"
    files = f"{_limit(soft)}, at most {_limit(hard)}"
    facts.append(fact("open files", files, few if 0 <= soft < LEAST_OPEN_FILES else ""))
    return facts


def ffmpeg_facts() -> list[Fact]:
    """Look at the FFmpeg inside PyAV: its version, and what it can read and write."""
    from pipelines import ffmpeg_builds
    from pipelines.standin import ENCODINGS

    is_accepted = os.environ.get(ffmpeg_builds.RISK_VARIABLE) == "1"
    encoders = tuple(dict.fromkeys(codec for codec, _ in ENCODINGS))
    return [
        *build_facts(ffmpeg_builds.build_in_use(), is_accepted=is_accepted),
        codec_fact("demuxer", DEMUXERS.split(","), "such containers are refused as unsupported_format"),
        codec_fact("decoder", DECODERS.split(","), "such videos are refused as unsupported_codec"),
        codec_fact("encoder", encoders, "make demo and the stand-in corpus cannot write such files"),
    ]


def build_facts(build: FFmpegBuild, *, is_accepted: bool) -> list[Fact]:
    """Judge a build of FFmpeg.

    Args:
        build: Its version and its parts.
        is_accepted: Whether the user has accepted the risk of an old one.
    """
    from pipelines import ffmpeg_builds

    problem = ffmpeg_builds.why_unsafe(build.version)
    is_fatal = bool(problem) and not is_accepted
    if problem:
        problem += f"; {ffmpeg_builds.RISK_VARIABLE}=1 accepts that" if is_accepted else "; install a newer PyAV"
    elif ffmpeg_builds.parse_version(build.version) is None:
        problem = "no release: whether it has the fixes that strangers' files need cannot be told"
    parts = ", ".join(f"{name.removeprefix('lib')} {version}" for name, version in build.libraries.items())
    return [
        fact("FFmpeg", f"{build.version} in PyAV {build.pyav}", problem, is_fatal=is_fatal),
        fact("FFmpeg's parts", parts),
    ]


def codec_fact(kind: str, names: Sequence[str], use: str) -> Fact:
    """Say which of the demuxers, decoders or encoders that FAL uses this build has.

    Args:
        kind: ``demuxer``, ``decoder`` or ``encoder``.
        names: As FFmpeg calls them.
        use: What does not work without one.
    """
    from pipelines import ffmpeg_builds

    lacking = ffmpeg_builds.missing(names, kind)
    advice = f"without {', '.join(lacking)}: {use}; the wheels of PyAV have them" if lacking else ""
    return fact(f"{kind}s", f"{len(names) - len(lacking)} of {len(names)} that may be used", advice)


def package_facts(needed: Sequence[str] = NEEDED_PACKAGES, for_jobs: Sequence[str] = JOB_PACKAGES) -> list[Fact]:
    """Look at the versions of the libraries; none is imported for it.

    Args:
        needed: Those without which nothing works.
        for_jobs: Those that only jobs need.
    """
    facts = []
    for name in (*needed, *for_jobs):
        note = ", its own FFmpeg is never used" if name.startswith("opencv") else ""
        try:
            facts.append(fact(name, importlib.metadata.version(name) + note))
        except importlib.metadata.PackageNotFoundError:
            facts.append(fact(name, "not installed", "make setup", is_fatal=name in needed))
    return facts


def gpu_facts() -> list[Fact]:
    """Look for a GPU, where torch is installed."""
    try:
        import torch
    except ImportError:
        return []
    cuda = torch.version.cuda
    if not torch.cuda.is_available():
        build = f"torch for CUDA {cuda}" if cuda else "torch without CUDA"
        return [fact("GPU", f"none ({build}): models run on the processor")]
    free, total = torch.cuda.mem_get_info()
    name = f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}, CUDA {cuda}"
    return [fact("GPU", f"{name}, {_gib(free)} of {_gib(total)} free")]


def decoding_facts(worker: str = "pipelines.decode_worker") -> list[Fact]:
    """Start a decoding process, have it decode the smallest video, and ask how well it is shut in.

    Args:
        worker: The module that the process runs.
    """
    from pipelines.decode_worker import SMALLEST_VIDEO
    from pipelines.isolation import IsolatedPreparer, why_unconfined

    try:
        unconfined = why_unconfined(worker)
        preparer = IsolatedPreparer(_SMALL_CLIP, DecodeLimits(), worker=worker)
        with tempfile.TemporaryFile() as file, preparer:
            file.write(SMALLEST_VIDEO)
            file.flush()
            info, clips = preparer.prepare(file)
            num_clips = len(list(clips))
    except (RuntimeError, OSError, VideoError) as error:
        return [fact("decoding", str(error), "nothing can be decoded on this machine like this", is_fatal=True)]
    weak = "only its memory, time and files are limited: prefer Linux on x86-64 or arm64 for videos of strangers"
    return [
        fact("decoding", f"{info.num_frames} frames, {num_clips} clip, in a process of its own"),
        fact("sandbox", unconfined or "system calls are filtered", weak if unconfined else ""),
    ]


_SMALL_CLIP = ClipSpec(num_frames=2, size_px=32, flow_size_px=8)


def setting_facts(environment: Mapping[str, str], home: Path) -> list[Fact]:
    """Look which settings there are; of credentials nothing but the names.

    Args:
        environment: The environment variables.
        home: Where ``.aws`` may be.
    """
    names = [name for name in CREDENTIALS if environment.get(name)]
    names += [f"~/.aws/{name}" for name in ("credentials", "config") if (home / ".aws" / name).is_file()]
    real = environment.get("FAL_REAL_VIDEOS", "")
    lost = f"{real} is no folder: tests and benches on real recordings will not find them"
    return [
        fact("S3 credentials", ", ".join(names) or "none: only public and local files can be read"),
        fact("FAL_REAL_VIDEOS", real or "not set", lost if real and not Path(real).is_dir() else ""),
    ]


def examine() -> list[Fact]:
    """Find everything out; takes a few seconds."""
    looks: tuple[Callable[[], list[Fact]], ...] = (
        machine_facts,
        space_facts,
        package_facts,
        ffmpeg_facts,
        gpu_facts,
        decoding_facts,
        lambda: setting_facts(os.environ, Path.home()),
    )
    facts: list[Fact] = []
    for look in looks:
        try:
            facts += look()
        except Exception as error:  # noqa: BLE001 - broken libraries and drivers raise anything; it has to be told
            facts.append(fact("installation", f"{type(error).__name__}: {error}", "make setup", is_fatal=True))
    return facts


def describe(facts: list[Fact]) -> str:
    """Write the facts for a person, and at the end what is wrong."""
    width = max(len(f.name) for f in facts)
    lines = []
    for f in facts:
        lines.append(f"{f.status.value:<4}  {f.name:<{width}}  {f.found}")
        lines += [f"      {'':<{width}}  → {f.advice}"] if f.advice else []
    num_broken, num_weak = (sum(f.status is status for f in facts) for status in (Status.FAIL, Status.WARN))
    end = (
        "everything is as it should be" if not num_broken + num_weak else f"{num_broken} broken, {num_weak} to look at"
    )
    return "\n".join([*lines, "", end])


def main(argv: list[str]) -> int:
    """Print the facts.

    Args:
        argv: Command line; ``--json`` for a machine.

    Returns:
        0, or 1 when something is broken.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    is_json = parser.parse_args(argv).json
    facts = examine()
    text = json.dumps({"facts": [asdict(f) for f in facts]}, indent=2) if is_json else describe(facts)
    sys.stdout.write(text + "\n")
    return int(any(f.status is Status.FAIL for f in facts))


def _cgroup_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _cgroup_value(path: Path) -> int | None:
    text = _cgroup_text(path)
    return int(text) if text.isdecimal() else None


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.1f} GiB"


def _limit(number: int) -> str:
    return "no limit" if number == resource.RLIM_INFINITY else str(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
