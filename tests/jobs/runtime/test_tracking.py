"""Runs recorded by a real MLflow, and jobs that go on without one."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest

from jobs.runtime.config import FalConfig, TrackingSection, to_dict
from jobs.runtime.tracking import AnyTracker, NoTracker, Tracker, open_tracker, tracked_run, tracking_uri


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one output folder for all tests: a new database takes seconds."""
    return tmp_path_factory.mktemp("tracking")


def open_here(output: Path, run_id: str | None = None) -> Tracker:
    tracker = open_tracker(TrackingSection(), str(output), "test", run_id)
    assert isinstance(tracker, Tracker)
    return tracker


def test_a_run_keeps_settings_numbers_and_files(output: Path) -> None:
    tracker = open_here(output)
    tracker.params({"config": to_dict(FalConfig()), "long": "x" * 10_000, "many": {f"n{i}": i for i in range(150)}})
    tracker.metrics({"loss": 2.0, "rate": 7}, step=1)
    tracker.metrics({"loss": 1.0}, step=2)
    (output / "report.html").write_text("<html>", encoding="utf-8")
    tracker.artifact(str(output / "report.html"))
    tracker.finish(is_ok=True)

    run = tracker._client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["config.train.learning_rate"] == "0.0001"
    assert run.data.params["config.train.loss.leaf_weight"] == "1.0"
    assert (len(run.data.params["long"]), run.data.params["many.n149"]) == (500, "149")
    assert run.data.metrics == {"loss": 1.0, "rate": 7.0}
    history = tracker._client.get_metric_history(tracker.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert [f.path for f in tracker._client.list_artifacts(tracker.run_id)] == ["report.html"]
    assert (output / "mlflow.db").is_file()
    assert list((output / "mlruns").rglob("report.html"))


def test_a_worker_goes_on_with_the_drivers_run(output: Path) -> None:
    driver = open_here(output)
    worker = open_here(output, driver.run_id)
    worker.metrics({"loss": 3.0}, step=1)
    driver.finish(is_ok=True)
    assert worker.run_id == driver.run_id
    assert driver._client.get_run(driver.run_id).data.metrics == {"loss": 3.0}


def test_a_number_that_is_none_is_recorded_as_it_is(output: Path) -> None:
    tracker = open_here(output)
    tracker.metrics({"loss": math.nan})
    assert math.isnan(tracker._client.get_run(tracker.run_id).data.metrics["loss"])


def test_a_block_that_raises_is_a_failed_run(output: Path) -> None:
    opened: list[AnyTracker] = []

    def interrupted() -> None:
        with tracked_run(TrackingSection(), str(output), "test") as tracker:
            opened.append(tracker)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert isinstance(opened[0], Tracker)
    assert opened[0]._client.get_run(opened[0].run_id).info.status == "FAILED"


def test_runs_of_one_output_share_an_experiment(output: Path) -> None:
    section = TrackingSection(experiment="shared")
    with tracked_run(section, str(output), "first") as first, tracked_run(section, str(output), "second") as second:
        assert isinstance(first, Tracker)
        assert isinstance(second, Tracker)
        runs = [first._client.get_run(t.run_id) for t in (first, second)]
    assert runs[0].info.experiment_id == runs[1].info.experiment_id
    assert [r.info.run_name for r in runs] == ["first", "second"]
    assert first._client.get_run(first.run_id).info.status == "FINISHED"


def test_a_server_that_is_away_costs_one_warning_and_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = TrackingSection(uri="http://127.0.0.1:9")  # the discard port: nobody listens
    with caplog.at_level(logging.WARNING, "jobs.runtime.tracking"):
        tracker = open_tracker(section, str(tmp_path), "test")
    assert isinstance(tracker, NoTracker)
    (record,) = [r for r in caplog.records if r.name == "jobs.runtime.tracking"]
    message = record.getMessage()
    assert message.startswith("MLflow at http://127.0.0.1:9 cannot be used; this run is not recorded: API request")
    assert "\n" not in message
    assert record.exc_info is None


def test_what_mlflow_refuses_is_a_warning(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = open_here(output)
    tracker.params({"size": 1})
    with caplog.at_level(logging.WARNING, "jobs.runtime.tracking"):
        tracker.params({"size": 2})
        tracker.metrics({"a name with ?": 1.0})
        tracker.artifact(str(output / "no such file"))
        tracker.run_id = "no-such-run"
        tracker.finish(is_ok=True)
    said = [r.getMessage().split(":")[0] for r in caplog.records if r.name == "jobs.runtime.tracking"]
    assert said == [f"MLflow did not take the {what}" for what in ("params", "metrics", "artifact", "finish")]


@pytest.mark.parametrize("section", [TrackingSection(is_enabled=False), TrackingSection(is_enabled=False, uri="x")])
def test_tracking_can_be_off(tmp_path: Path, section: TrackingSection) -> None:
    with tracked_run(section, str(tmp_path), "test") as tracker:
        assert isinstance(tracker, NoTracker)
        tracker.params({"a": 1})
        tracker.metrics({"b": 2})
        tracker.artifact("nothing")
    assert list(tmp_path.iterdir()) == []
    assert (tracker.run_id, tracker.tracking_uri) == ("", "")


def test_an_output_in_s3_is_recorded_only_where_a_server_is_named() -> None:
    assert tracking_uri(TrackingSection(), "s3://bucket/out") == ""
    assert isinstance(open_tracker(TrackingSection(), "s3://bucket/out", "test"), NoTracker)
    assert tracking_uri(TrackingSection(uri="http://server"), "s3://bucket/out") == "http://server"


def test_a_local_output_is_recorded_beside_it(tmp_path: Path) -> None:
    assert tracking_uri(TrackingSection(), str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(TrackingSection(uri="http://server"), str(tmp_path)) == "http://server"
