"""Fixtures of the pipeline tests that need a store."""

from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]
