"""The command line every job shares, and what its exit code means."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from fal_model.errors import ConfigError, FalError, OutputError
from jobs.runtime.config import FalConfig, load_config, to_dict
from pipelines import manifest, storage

DONE, FAILED, WRONG_USAGE, TOO_MANY_FAILED = 0, 1, 2, 3
SUMMARY = "summary.json"
INTERRUPTED = "interrupted; run the same command again to go on"
LAST_LINES = {
    DONE: "done",
    FAILED: "failed",
    WRONG_USAGE: "wrong usage",
    TOO_MANY_FAILED: "done, but more videos failed than max_failed_share allows",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One ``--name VALUE`` of a job, or one ``--name``, which reads as ``yes`` where it stands."""

    name: str
    help: str
    is_required: bool = True
    default: str = ""
    is_flag: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job leaves: its exit code, its summary (also written to ``summary.json``), and lines for people."""

    code: int
    summary: dict[str, Any]
    lines: list[str]


Body = Callable[[dict[str, str], FalConfig], Outcome]


def run(argv: Sequence[str] | None, description: str, arguments: Sequence[Argument], body: Body) -> int:
    """Parse the command line, run the job, print its one-screen summary, and return its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = _parser(description, arguments)
    options = vars(parser.parse_intermixed_args(argv))  # settings may stand before, between and after the arguments
    try:
        config = load_config(options.pop("config"), options.pop("overrides"))
        if options.pop("print_config"):
            say(yaml.safe_dump(to_dict(config), sort_keys=False).rstrip())
            return DONE
        _require(options, arguments)
        outcome = _timed(body, options, config)
    except ConfigError as error:
        return _fail(WRONG_USAGE, error.problems)
    except OutputError as error:
        return _fail(FAILED, [str(error)])
    except (FalError, OSError) as error:
        _leave_summary(options, str(error))
        return _fail(FAILED, [str(error)])
    except KeyboardInterrupt:
        _leave_summary(options, INTERRUPTED)
        return _fail(FAILED, [INTERRUPTED])
    for line in outcome.lines:
        say(line)
    say(f"exit code {outcome.code}: {LAST_LINES[outcome.code]}")
    return outcome.code


def say(text: str = "") -> None:
    """Print a line for the person at the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_summary(folder: str, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` into a job's output folder; where the output is one manifest, beside it.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = json.dumps(summary, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    storage.write_bytes(summary_uri(folder), text.encode())


def summary_uri(output: str) -> str:
    """Return where the summary of a job goes: ``OUTPUT/summary.json``, or ``NAME.summary.json`` beside a manifest."""
    suffix = next((s for s in manifest.SUFFIXES if output.endswith(s)), None)
    return storage.join(output, SUMMARY) if suffix is None else f"{output.removesuffix(suffix)}.{SUMMARY}"


def _timed(body: Body, options: dict[str, str], config: FalConfig) -> Outcome:
    start = time.monotonic()
    outcome = body(options, config)
    summary = {"wall_s": round(time.monotonic() - start, 3)} | outcome.summary | {"exit_code": outcome.code}
    if options.get("output"):
        write_summary(options["output"], summary)
    return Outcome(outcome.code, summary, outcome.lines)


def _leave_summary(options: dict[str, str], problem: str) -> None:
    """Say in ``summary.json`` that the run failed, where one of an earlier run would say otherwise."""
    if options.get("output"):
        with suppress(FalError, OSError):  # what stopped the job may stop this too; the exit code says it anyway
            write_summary(options["output"], {"exit_code": FAILED, "problems": [problem]})


def _parser(description: str, arguments: Sequence[Argument]) -> argparse.ArgumentParser:
    epilog = "exit codes: " + "; ".join(f"{code} {text}" for code, text in LAST_LINES.items())
    parser = argparse.ArgumentParser(description=description, epilog=epilog, allow_abbrev=False)
    for argument in arguments:
        if argument.is_flag:
            parser.add_argument(f"--{argument.name}", action="store_const", const="yes", default="", help=argument.help)
            continue
        word = "required" if argument.is_required else f"default: {argument.default or 'none'}"
        text = f"{argument.help} ({word})".replace("%", "%%")
        parser.add_argument(f"--{argument.name}", default=argument.default, help=text)
    parser.add_argument(
        "--config", metavar="FILE.yaml", help="settings; a file holds only what differs from the defaults"
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved settings and stop")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings that win over the file")
    return parser


def _require(options: dict[str, str], arguments: Sequence[Argument]) -> None:
    missing = [a for a in arguments if a.is_required and not a.is_flag and not options[a.name.replace("-", "_")]]
    if missing:
        raise ConfigError([f"--{a.name}: missing; {a.help}" for a in missing])


def _fail(code: int, problems: Sequence[str]) -> int:
    word = "problem" if len(problems) == 1 else "problems"
    sys.stderr.write(f"{len(problems)} {word}:\n" + "".join(f"  {p}\n" for p in problems))
    sys.stderr.flush()
    say(f"exit code {code}: {LAST_LINES[code]}")
    return code
