"""The command line: exit codes, the last line, and the summary."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml

from fal_model.errors import ConfigError, FalError, OutputError
from jobs.runtime.cli import DONE, FAILED, TOO_MANY_FAILED, WRONG_USAGE, Argument, Outcome, run, write_summary
from jobs.runtime.config import FalConfig

ARGUMENTS = (
    Argument("input", "what to read; 100 % of it"),
    Argument("output", "where to write"),
    Argument("taxonomy", "a tree", is_required=False),
)
Options = dict[str, str]


class Body:
    """A job that notes what it was given and ends as told."""

    def __init__(self, end: Outcome | Exception | None = None) -> None:
        self.end = end or Outcome(DONE, {"job": "test"}, ["one", "two"])
        self.options: Options = {}
        self.config: FalConfig | None = None

    def __call__(self, options: Options, config: FalConfig) -> Outcome:
        self.options, self.config = options, config
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


def start(body: Body, *argv: str) -> int:
    return run(argv, "Test the command line.", ARGUMENTS, body)


def test_a_job_that_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = Body()
    code = start(body, "--input", "in", "--output", str(tmp_path / "out"), "label.limit=3")

    assert code == 0
    assert capsys.readouterr().out.splitlines() == ["one", "two", "exit code 0: done"]
    assert body.options == {"input": "in", "output": str(tmp_path / "out"), "taxonomy": ""}
    assert body.config is not None
    assert body.config.label.limit == 3
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary.pop("wall_s") >= 0
    assert summary == {"job": "test", "exit_code": 0}


def test_a_flag_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (Argument("deep", "look at everything", is_flag=True),)
    body = Body()
    assert run(["label.limit=3", "--deep", "label.max_labels=2"], "Test.", flags, body) == 0
    assert body.options == {"deep": "yes"}
    assert body.config is not None
    assert (body.config.label.limit, body.config.label.max_labels) == (3, 2)
    assert run([], "Test.", flags, body) == 0
    assert body.options == {"deep": ""}
    with pytest.raises(SystemExit) as ended:
        run(["--help"], "Test.", flags, body)
    assert ended.value.code == 0
    assert "--deep look at everything" in " ".join(capsys.readouterr().out.split())


def test_too_many_failed_videos_are_their_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = start(Body(Outcome(TOO_MANY_FAILED, {}, [])), "--input", "in", "--output", str(tmp_path))
    assert code == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "exit code 3: done, but more videos failed than max_failed_share allows"
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["exit_code"] == 3


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (FalError("it broke"), FAILED, "exit code 1: failed"),
        (OutputError("it broke"), FAILED, "exit code 1: failed"),
        (ConfigError(["it broke"]), WRONG_USAGE, "exit code 2: wrong usage"),
    ],
)
def test_an_error_becomes_a_code_a_message_and_a_last_line(
    error: Exception, code: int, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(Body(error), "--input", "in", "--output", str(tmp_path)) == code
    captured = capsys.readouterr()
    assert captured.err == "1 problem:\n  it broke\n"
    assert captured.out.splitlines() == [last]
    # A job that broke half-way says so in its summary; a folder that may be another run's is left alone.
    left = tmp_path / "summary.json"
    if type(error) is FalError:
        assert json.loads(left.read_text(encoding="utf-8")) == {"exit_code": 1, "problems": ["it broke"]}
    else:
        assert not left.exists()


def test_trouble_with_files_is_a_message_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = Body(OSError(5, "the store refused"))
    assert start(body, "--input", "in", "--output", str(tmp_path)) == FAILED
    assert "the store refused" in capsys.readouterr().err


def test_an_interrupted_job_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_options: Options, _config: FalConfig) -> Outcome:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    # A shell that starts the tests in the background has them ignore the key.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run(["--input", "a", "--output", str(tmp_path)], "Test the command line.", ARGUMENTS, stop)
    finally:
        signal.signal(signal.SIGINT, before)

    assert code == FAILED
    shown = capsys.readouterr()
    assert "interrupted; run the same command again to go on" in shown.err
    assert shown.out.splitlines()[-1] == "exit code 1: failed"
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["exit_code"] == FAILED


def test_every_problem_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert start(Body(), "--input", "in", "--output", "out", "label.limit=x", "nonsense") == 2
    error = capsys.readouterr().err
    assert error.startswith("2 problems:\n")
    assert "  override 'nonsense': expected section.key=value\n" in error
    assert "  label.limit: got 'x'" in error


def test_an_error_of_ours_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError):
        start(Body(ArithmeticError("a bug")), "--input", "in", "--output", str(tmp_path))


def test_missing_arguments_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    body = Body()
    assert start(body) == 2
    captured = capsys.readouterr()
    assert (
        captured.err
        == "2 problems:\n  --input: missing; what to read; 100 % of it\n  --output: missing; where to write\n"
    )
    assert captured.out == "exit code 2: wrong usage\n"
    assert body.config is None


def test_settings_may_stand_anywhere(tmp_path: Path) -> None:
    body = Body()
    start(body, "label.limit=3", "--input", "in", "label.threshold=0.25", "--output", str(tmp_path), "loop.workers=2")
    assert body.config is not None
    assert (body.config.label.limit, body.config.label.threshold, body.config.loop.workers) == (3, 0.25, 2)


def test_a_settings_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("label: {limit: 3}\n", encoding="utf-8")
    body = Body()
    start(body, "--config", str(path), "--input", "in", "--output", str(tmp_path))
    assert body.config is not None
    assert body.config.label.limit == 3


def test_the_resolved_settings_can_be_printed_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    body = Body()
    assert start(body, "--print-config", "label.limit=3") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["label"]["limit"] == 3
    assert printed["clip"] is None
    assert body.config is None


def test_help_says_what_is_required_and_what_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        start(Body(), "--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "what to read; 100 % of it (required)" in text
    assert "a tree (default: none)" in text
    assert "3 done, but more videos failed than max_failed_share allows" in text


@pytest.mark.parametrize("argument", ["--nonsense", "--inp=in"])
def test_an_unknown_argument_is_wrong_usage(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        start(Body(), argument)
    assert caught.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_summary_is_readable_and_sorted(tmp_path: Path) -> None:
    write_summary(str(tmp_path), {"b": 1, "a": "ü"})
    assert (tmp_path / "summary.json").read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": 1\n}\n'


def test_the_summary_of_a_job_that_writes_one_manifest_lies_beside_it(tmp_path: Path) -> None:
    assert start(Body(), "--input", "in", "--output", str(tmp_path / "all.csv")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["all.summary.json"]
    assert json.loads((tmp_path / "all.summary.json").read_text(encoding="utf-8"))["exit_code"] == 0


def test_a_summary_that_cannot_be_written_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert start(Body(), "--input", "in", "--output", str(tmp_path / "file")) == 1
    assert "cannot write" in capsys.readouterr().err
