"""Lists, traces and prices, help, and the command as a process."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_kit import NETWORK_FILE, check_run_record, invoke, ok, process, record
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.chip import list_chips
from neuromorph.cli import main
from neuromorph.energy import list_prices
from neuromorph.network import Input, Linear, Network, Readout, find_network, save_network

# --- lists


def test_chips():
    found = record("chips")["chips"]
    assert [c["chip"] for c in found] == list_chips()
    assert all(c["cores"] > 0 and c["neurons_per_core"] > 0 for c in found)
    one = record("chips", "loihi14")
    assert one["chip"] == "loihi14"
    assert one["cores"] == 128
    assert one["facts"]["core.neurons"] == {
        "value": 1024,
        "kind": "measured",
        "source": "Davies 2018: 1024 compartments a core",
    }
    assert ok("chips", "loihi14").rstrip("\n") == str(nm.load_chip("loihi14"))
    assert "odin28       1 core of 256 neurons, " in ok("chips")
    assert "1 × 1 tiles × 1 core, " in ok("chips", "odin28")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("neuromorph chips lo", {"loihi14"}),
        ("neuromorph run digits-g", {"digits-gxnor"}),
        ("neuromorph run digits-gxnor --chip od", {"odin28"}),
        ("neuromorph compare digits-gxnor --prices gen", {"generic22"}),
        ("neuromorph energy prices gen", {"generic22"}),
        ("neuromorph run digits-gxnor --mode ti", {"timed"}),
    ],
)
def test_the_tab_key_completes_names(typed, offered):
    """As bash asks for it; "file" lets the shell look for files where no name fits."""
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    asked["_NEUROMORPH_COMPLETE"] = "bash_complete"
    answer = CliRunner().invoke(main, [], prog_name="neuromorph", env=asked)
    kinds = [line.split(",") for line in answer.stdout.split()]
    assert {name for kind, name in kinds if kind == "plain"} == offered
    assert [kind for kind, _ in kinds] in (["plain"], ["file", "plain"])


def test_networks():
    found = {n["network"]: n for n in record("networks")["networks"]}
    assert {"digits-gxnor", "mnist-mlp-gxnor"} <= set(found)
    digits = found["digits-gxnor"]
    net = nm.load_network("digits-gxnor")
    assert digits["synapses"] == net.synapses
    assert digits["weight_bytes"] == math.ceil(net.weight_bits / 8)
    assert digits["test_accuracy"] == net.meta["test_accuracy"]
    assert Path(digits["file"]) == find_network("digits-gxnor") == NETWORK_FILE
    assert "test_dice" not in digits
    unet, about = found["sstem-unet-int8"], nm.load_network("sstem-unet-int8").meta
    assert (unet["test_dice"], unet["dice_mean"]) == (about["test_dice"], about["dice_mean"])
    text = CliRunner().invoke(main, ["networks"]).stdout
    assert f"sstem-unet-int8 classifies pixels: Dice {about['test_dice']:.3f}, seeds 0." in text


def test_networks_lists_the_others_beside_a_broken_one(elsewhere):
    (elsewhere / "networks" / "odd").mkdir(parents=True)
    (elsewhere / "networks" / "odd" / "network.safetensors").write_bytes(b"odd")
    good = Network(
        name="mine",
        input=Input(shape=(2,)),
        layers=[Linear(name="out", weights=[[1, -1]]), Readout()],
        meta={"test_accuracy": "high", "seeds_mean": [1], "data": {"a": 1}},
    )
    save_network(good, "networks/mine")
    found = {n["network"]: n for n in record("networks")["networks"]}
    assert found["odd"]["error"].endswith("file has 3 bytes; a network file is longer")
    assert found["mine"]["synapses"] == 2
    assert "digits-gxnor" in found
    text = ok("networks")
    assert "odd cannot be used: " in text
    assert "mine" in text


def test_prices():
    assert [p["prices"] for p in record("energy", "prices")["prices"]] == list_prices()
    one = record("energy", "prices", "loihi14")
    assert one["actions"]["xnor_event"]["value"] == 23.6e-12
    assert one["actions"]["xnor_event"]["unit"] == "J"
    assert one["static"]["chip"]["unit"] == "W"
    assert "token_out" in one["unpriced"]
    assert record("energy", "prices", "horowitz45")["sram"]["points"]


@pytest.mark.parametrize(
    "args",
    [("chips",), ("networks",), ("energy", "prices")]
    + [("chips", name) for name in list_chips()]
    + [("energy", "prices", name) for name in list_prices()],
    ids=" ".join,
)
def test_lists_are_tidy(args):
    lines = ok(*args).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


# --- traces and prices


def test_trace_info(trace):
    found = record("trace", "info", trace)
    assert found["network"] == "digits-gxnor"
    assert found["chip"] == "gxnor45"
    assert found["samples"] == 3
    assert found["detail"] == "packets"
    assert found["complete"] is True
    assert found["latency_s"] > 0
    text = ok("trace", "info", trace)
    assert "digits-gxnor" in text
    assert max(map(len, text.splitlines())) <= 100


def test_trace_validate(trace):
    assert ok("trace", "validate", trace) == "run.h5 is valid\n"
    assert record("trace", "validate", trace) == {"file": "run.h5", "valid": True, "problems": []}


def test_trace_with_a_broken_rule_is_exit_code_one(trace, monkeypatch):
    monkeypatch.setattr("neuromorph.trace.validate", lambda path: ["rule 12: it is odd"])
    result = invoke("trace", "validate", trace)
    assert result.exit_code == 1
    assert result.stdout == "rule 12: it is odd\n"
    assert result.stderr == ""
    result = invoke("trace", "validate", trace, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == ["rule 12: it is odd"]


def test_reprice_gives_the_figures_of_the_run(trace):
    run = record("run", "digits-gxnor", "--mode", "timed", "--samples", 3)
    again = record("energy", "reprice", trace)
    assert {k: again["total"][k] for k in ("p10", "p50", "p90")} == run["energy_j"]
    other = record("energy", "reprice", trace, "--interval-s", 1.0)
    assert other["time_s"] == 1.0
    assert other["dynamic"] == again["dynamic"]
    assert other["total"]["p50"] > 1000 * again["total"]["p50"]
    text = ok("energy", "reprice", trace)
    assert max(map(len, text.splitlines())) <= 100
    assert record("energy", "reprice", trace, "--prices", "loihi14")["total"] is None


# --- the process


def test_a_real_command(elsewhere):
    result = process("run", "digits-gxnor", "--mode", "timed", "--samples", 5, "--json")
    assert result.returncode == 0
    assert result.stderr == ""
    check_run_record(json.loads(result.stdout), "timed")
    assert process("run", "nope").stderr.startswith("error: no network 'nope'")


def test_commands_need_no_optional_package():
    """Every command but train runs where torch, matplotlib and brian2 are not installed."""
    code = """
import sys
import json

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "matplotlib", "brian2", "plotly", "dask", "nir"):
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Absent())
from neuromorph.cli import main
for args in (
    "demo --out out", "run digits-gxnor --samples 2",
    "run digits-gxnor --samples 2 --mode timed --trace t.h5 --picture p.svg",
    "map digits-gxnor", "chips", "chips loihi14", "networks", "trace info t.h5",
    "trace validate t.h5", "energy reprice t.h5", "energy prices", "energy prices loihi14",
):
    main(args.split(), standalone_mode=False)
    assert "torch" not in sys.modules, args
print("done")
try:
    main(["train", "digits-gxnor"])
except SystemExit as stop:
    print("train", stop.code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["done", "train 2"]
    assert result.stderr.count("\n") == 1
    assert "neuromorph[train]" in result.stderr


def test_a_terminal_that_lacks_our_signs():
    """Latin-1 has no ellipsis."""
    result = process("demo", encoding="latin-1", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 0, result.stderr
    energy = next(line for line in result.stdout.splitlines() if line.startswith("energy "))
    assert " ? " in energy


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_a_reader_that_goes_away():
    running = subprocess.Popen(
        [sys.executable, "-m", "neuromorph", "chips", "loihi14"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running.stdout.close()
    assert running.stderr.read() == ""
    running.stderr.close()
    running.wait()


# --- help


def all_commands(command=main, path=()):
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


def test_commands_are_those_of_the_issue():
    names = {" ".join(path) for path, _ in all_commands()}
    assert names >= {
        "demo", "train", "map", "run", "chips", "networks", "trace info", "trace validate",
        "energy reprice", "energy prices",
    }  # fmt: skip


@pytest.mark.parametrize("path", [p for p, _ in all_commands()], ids=" ".join)
def test_help(path):
    command = dict(all_commands())[path]
    text = ok(*path, "--help")
    assert text.startswith(f"Usage: {' '.join(['neuromorph', *path])} ")
    assert max(map(len, text.splitlines())) <= 80
    assert command.help
    assert command.help.strip().splitlines()[0].rstrip(".") in " ".join(text.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in text
    if not isinstance(command, click.Group):
        assert "--json" in text


def test_short_help_and_version():
    assert ok("-h") == ok("--help")
    assert ok("--version") == f"neuromorph, version {nm.__version__}\n"


def test_no_arguments_shows_the_help():
    result = invoke()
    assert result.exit_code == 2
    assert "Usage: " in result.output
    assert "demo" in result.output
