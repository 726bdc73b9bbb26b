"""What becomes of a video and of an output file when the store does harm: how often it is asked, how long, the end.

    python bench/s3_faults.py [--patience-s 4]

A real server that speaks S3, on the loopback interface, behind a proxy that does one kind of harm: to the first
request, or to every one. A recording from FAL_REAL_VIDEOS is prepared as the labelling job does, and a file is written.
Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moto.server import ThreadedMotoServer

from bench.real_videos import real_folder
from fal_model.errors import OutputError
from fal_model.spec import ClipSpec
from pipelines import storage
from pipelines.limits import DecodeLimits
from pipelines.prepare import BatchPreparer
from pipelines.s3 import store
from pipelines.s3_patience import PATIENCE_VARIABLE
from tests.helpers.s3_faults import Fault, FaultyProxy, Harm

BUCKET = "corpus"
VIDEO, OUTPUT = f"s3://{BUCKET}/video.mp4", f"s3://{BUCKET}/labels.parquet"
OUTPUT_BYTES = 100_000
WRITTEN = "whole"
COUNT_S = 0.3
"""Until what the proxy still held has been counted."""
SPEC = ClipSpec(num_frames=8, size_px=96)


@dataclass(frozen=True, slots=True)
class Tried:
    """How one operation ended."""

    end: str
    num_requests: int
    mbytes_down: float
    seconds: float

    def cells(self) -> str:
        """Return the columns of the table."""
        return f"{self.end} | {self.num_requests} | {self.mbytes_down:.2f} | {self.seconds:.1f}"


def main(argv: list[str] | None = None) -> int:
    """Do every harm once and always, and print the table."""
    options = _options(argv)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys | {PATIENCE_VARIABLE: str(options.patience_s), "AWS_EC2_METADATA_DISABLED": "true"})
    video = max((real_folder() / "activitynet").rglob("*.mp4"), key=lambda path: path.stat().st_size)
    with FaultyProxy(f"http://{host}:{port}") as proxy, BatchPreparer(SPEC, DecodeLimits(), 16) as preparer:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        store().call("create_bucket", f"s3://{BUCKET}")
        storage.write_bytes(VIDEO, video.read_bytes())
        _labelled(preparer)  # starts the decoding process
        print(f"A video of {video.stat().st_size / 1e6:.2f} MB; {options.patience_s:g} s of patience.\n", flush=True)
        print("| harm | to | video ends as | requests | MB | s | output ends as | requests | MB | s |", flush=True)
        print("|" + "---|" * 10, flush=True)
        for harm in (None, *Harm):
            data = os.urandom(OUTPUT_BYTES)
            for count, word in ((1, "the first"), (None, "every one")) if harm else ((0, "none"),):
                faults = [Fault(harm, count=count)] if harm else []
                read = _tried(proxy, faults, partial(_labelled, preparer))
                written = _tried(proxy, faults, partial(_written, data))
                proxy.forget()
                if written.end == WRITTEN and storage.read_bytes(OUTPUT) != data:
                    written = replace(written, end="NOT WHOLE")
                print(f"| {harm or 'none'} | {word} | {read.cells()} | {written.cells()} |", flush=True)
    server.stop()
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience-s", type=float, default=4.0, help="FAL_S3_PATIENCE_S")
    return parser.parse_args(argv)


def _tried(proxy: FaultyProxy, faults: list[Fault], operation: Callable[[], str]) -> Tried:
    proxy.forget()
    proxy.faults.extend(Fault(f.harm, count=f.count) for f in faults)
    start = time.monotonic()
    end = operation()
    seconds = time.monotonic() - start
    proxy.closing.set()  # what is still silent or trickling counts too
    time.sleep(COUNT_S)
    return Tried(end, len(proxy.seen), proxy.bytes_down / 1e6, seconds)


def _labelled(preparer: BatchPreparer) -> str:
    metas = [meta for meta, _, _ in preparer.batches([{"video_id": "v", "uri": VIDEO}])]
    failures = [failure for meta in metas for failure in meta.failures]
    return failures[0].kind if failures else f"{sum(len(meta.clips) for meta in metas)} clips"


def _written(data: bytes) -> str:
    try:
        storage.write_bytes(OUTPUT, data)
    except OutputError:
        return "OutputError"
    return WRITTEN


if __name__ == "__main__":
    sys.exit(main())
