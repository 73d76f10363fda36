"""Commands: what they print, the JSON that stays, one line and exit code 2 for bad input.

Most run in this process through click's runner; what concerns the process
itself (imported modules, broken pipes, a full disk, encodings) in a real one."""

import json
import subprocess
import sys

from click.testing import CliRunner

from neuromorph.cli import main
from neuromorph.network import find_network

RUN_KEYS = [
    "network", "chip", "mode", "samples", "accuracy", "latency_s", "interval_s", "load",
    "events_per_inference", "xnor_events_per_inference", "resting_fraction", "energy_j", "trace",
]  # fmt: skip


def invoke(*args):
    result = CliRunner().invoke(main, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*args):
    """Output of a command that must succeed, silent on stderr."""
    result = invoke(*args)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def record(*args):
    return json.loads(ok(*args, "--json"))


def bad(*args):
    """The one line of a command that must fail; nothing on stdout."""
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.endswith("\n")
    return result.stderr.removeprefix("error: ").rstrip("\n")


def process(*args, **options):
    """A real command."""
    return subprocess.run(
        [sys.executable, "-m", "neuromorph", *map(str, args)],
        capture_output=True,
        text=True,
        **{"encoding": "utf-8", **options},
    )


def check_run_record(found, mode):
    """Keys and types that stay; SI units."""
    assert [k for k in RUN_KEYS if k not in found] == []
    assert isinstance(found["network"], str)
    assert isinstance(found["chip"], str)
    assert found["mode"] == mode
    assert isinstance(found["samples"], int)
    assert 0 <= found["accuracy"] <= 1
    assert 0 <= found["resting_fraction"] <= 1
    assert 0 <= found["xnor_events_per_inference"] <= found["events_per_inference"]
    for key in ("latency_s", "interval_s"):
        if mode == "timed" and (key == "latency_s" or found["samples"] > 1):
            assert 0 < found[key] < 1e-2
        else:
            assert found[key] is None
    if mode == "timed":
        load = found["load"]
        assert 0 <= load["link_busy"] <= load["core_busy"] <= 1
        assert load["core_blocked"] == 0
        assert load["longest_queue"] >= 1
    else:
        assert found["load"] is None
    if found["energy_j"] is not None:
        assert list(found["energy_j"]) == ["p10", "p50", "p90"]
        assert 0 < found["energy_j"]["p10"] < found["energy_j"]["p50"] < found["energy_j"]["p90"]
        assert found["energy_j"]["p90"] < 1e-2


class Intruder:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("intruder-was-here", "w")


NETWORK_FILE = find_network("digits-gxnor").resolve()
