"""MLflow, and nothing else knows it. Recording a run never stops the run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fal_model.errors import printable
from jobs.runtime.config import TrackingSection

log = logging.getLogger(__name__)
MAX_PARAM_CHARS = 500
MAX_BATCH_PARAMS = 100


class Tracker:
    """One run in MLflow, or nothing at all where tracking is off.

    Args:
        tracking_uri: Where MLflow records.
        experiment: Name of the experiment; made if missing.
        run_id: A run to continue; None starts a new one.
        run_name: Name of a new run.
        artifact_root: Where a new local experiment keeps its files; None leaves it to MLflow.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        *,
        run_id: str | None = None,
        run_name: str | None = None,
        artifact_root: str | None = None,
    ) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        # A server that is away must cost seconds, not the four minutes of MLflow's seven tries, at every report.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        for talker in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(talker).setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        self.tracking_uri = tracking_uri
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self.run_id: str = run_id or self._start(experiment, run_name, artifact_root)

    def _start(self, experiment: str, run_name: str | None, artifact_root: str | None) -> str:
        found = self._client.get_experiment_by_name(experiment)
        location = Path(artifact_root).absolute().as_uri() if artifact_root else None
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment, location)
        run = self._client.create_run(experiment_id, run_name=run_name)
        return str(run.info.run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings, flattened as ``section.key``."""
        with _never_fatal("params"):
            from mlflow.entities import Param

            params = [Param(key, str(value)[:MAX_PARAM_CHARS]) for key, value in _flat(values)]
            for start in range(0, len(params), MAX_BATCH_PARAMS):
                self._client.log_batch(self.run_id, params=params[start : start + MAX_BATCH_PARAMS])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at a step."""
        with _never_fatal("metrics"):
            from mlflow.entities import Metric

            now_ms = time.time_ns() // 1_000_000
            self._client.log_batch(self.run_id, [Metric(k, float(v), now_ms, step) for k, v in values.items()])

    def artifact(self, path: str) -> None:
        """Record a local file with the run."""
        with _never_fatal("artifact"):
            self._client.log_artifact(self.run_id, path)

    def finish(self, *, is_ok: bool) -> None:
        """Mark the run as ended."""
        with _never_fatal("finish"):
            self._client.set_terminated(self.run_id, "FINISHED" if is_ok else "FAILED")


class NoTracker:
    """What stands in where tracking is off or MLflow cannot be reached."""

    tracking_uri = ""
    run_id = ""

    def params(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Do nothing."""

    def artifact(self, path: str) -> None:
        """Do nothing."""

    def finish(self, *, is_ok: bool) -> None:
        """Do nothing."""


AnyTracker = Tracker | NoTracker


def tracking_uri(section: TrackingSection, output: str) -> str:
    """Choose where MLflow records: the settings, else a SQLite file in the output folder (local outputs only)."""
    if section.uri or output.startswith("s3://"):
        return section.uri
    return f"sqlite:///{Path(output).absolute() / 'mlflow.db'}"


@contextmanager
def tracked_run(section: TrackingSection, output: str, run_name: str) -> Iterator[AnyTracker]:
    """Record a block as one MLflow run, failed if the block raises."""
    tracker = open_tracker(section, output, run_name)
    try:
        yield tracker
    except BaseException:  # a run that ends by Ctrl-C has failed too; the error travels on
        tracker.finish(is_ok=False)
        raise
    tracker.finish(is_ok=True)


def open_tracker(section: TrackingSection, output: str, run_name: str, run_id: str | None = None) -> AnyTracker:
    """Open a tracker; where MLflow cannot be reached, warn and go on without."""
    uri = tracking_uri(section, output)
    if not (section.is_enabled and uri):
        return NoTracker()
    local_root = None if section.uri else str(Path(output, "mlruns"))
    try:
        return Tracker(uri, section.experiment, run_id=run_id, run_name=run_name, artifact_root=local_root)
    except Exception as error:  # noqa: BLE001 - whatever a tracking server does, labelling and training go on
        log.warning("MLflow at %s cannot be used; this run is not recorded: %s", uri, printable(str(error)))
        return NoTracker()


@contextmanager
def _never_fatal(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a tracking server does, labelling and training go on
        log.warning("MLflow did not take the %s: %s", what, printable(str(error)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
