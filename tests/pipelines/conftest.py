"""Fixtures of the pipeline tests that need a store, or a scanned corpus."""

from pathlib import Path

import pytest

from pipelines.config import ScanConfig
from pipelines.scan_job import ScanPlan
from tests.helpers.s3 import bucket, faults, s3_client, s3_environment, s3_proxy, s3_server
from tests.helpers.scanned import scan_into, write_scanned

__all__ = ["bucket", "faults", "s3_client", "s3_environment", "s3_proxy", "s3_server"]


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> ScanPlan:
    """Scan the small corpus with every kind of copy and fault once, deep, for the tests that only read the result."""
    folder: Path = tmp_path_factory.mktemp("scanned")
    return scan_into(folder / "out", write_scanned(folder / "corpus"), ScanConfig(part_videos=4, is_deep=True))
