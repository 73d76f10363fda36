"""Files that are none, places that cannot be written, outputs that would replace inputs."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_kit import NETWORK_FILE, Intruder, bad, invoke, ok, process
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.chip import PRESETS
from neuromorph.cli import main
from neuromorph.energy.files import PRESETS as PRICE_PRESETS
from neuromorph.network import save_network

# --- files that are none


def commands_for(kind, path):
    """Commands that expect a network, trace, chip or price file at the path."""
    return {
        "network": [("run", path), ("map", path), ("map", path, "--dry-run")],
        "trace": [
            ("trace", "info", path),
            ("trace", "validate", path),
            ("energy", "reprice", path),
        ],
        "chip": [
            ("map", "digits-gxnor", "--chip", path),
            ("run", "digits-gxnor", "--chip", path),
            ("chips", path),
        ],
        "prices": [
            ("run", "digits-gxnor", "--samples", "2", "--prices", path),
            ("energy", "prices", path),
        ],
    }[kind]


def good_file(kind):
    if kind == "trace":
        ok("run", "digits-gxnor", "--samples", 2, "--detail", "counts", "--trace", "good.h5")
        return Path("good.h5").read_bytes()
    folder = {"network": None, "chip": PRESETS, "prices": PRICE_PRESETS}[kind]
    return (NETWORK_FILE if folder is None else next(folder.glob("*45.toml"))).read_bytes()


KINDS = ["network", "trace", "chip", "prices"]


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_files(kind):
    contents = {
        "empty": b"",
        "text": b"once upon a time",
        "noise": np.random.default_rng(0).bytes(5000),
        "zeros": bytes(5000),
        "pickle": pickle.dumps(Intruder()),
    }
    contents |= {other: good_file(other) for other in KINDS if other != kind}
    for name, content in contents.items():
        path = Path(f"{name}.file")
        path.write_bytes(content)
        for command in commands_for(kind, path):
            assert str(path) in bad(*command)
    assert not Path("intruder-was-here").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_no_file(kind, elsewhere):
    (elsewhere / "folder").mkdir()
    for path in ("missing", "folder", "x" * 300):
        for command in commands_for(kind, path):
            assert path in bad(*command)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(kind):
    whole, path = good_file(kind), Path("cut.file")
    for part in (0.05, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * part)])
        for command in commands_for(kind, path):
            assert str(path) in bad(*command)


@pytest.mark.parametrize("kind", ["network", "trace"])
def test_a_flipped_bit_anywhere_is_found(kind):
    whole, path = good_file(kind), Path("flipped.file")
    rng = np.random.default_rng(1)
    # a trace whose seal has no right beginning is read as one that was never sealed
    first = 24 if kind == "trace" else 0
    places = {*range(first, 100, 7), len(whole) - 1, *rng.integers(first, len(whole), 30).tolist()}
    for place in sorted(places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        assert str(path) in bad(*commands_for(kind, path)[0]), place


@pytest.mark.parametrize("kind", ["chip", "prices"])
def test_a_flipped_bit_in_text_is_another_text_or_refused(kind):
    whole, path = good_file(kind), Path("flipped.file")
    rng = np.random.default_rng(2)
    refused = 0
    for place in rng.integers(0, len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        result = invoke(*commands_for(kind, path)[-1])
        refused += result.exit_code == 2
        assert result.exit_code in (0, 2)
        assert result.stderr.count("\n") == (result.exit_code == 2)
    assert refused > 5


BOTH = "this picture is drawn as .svg or .png"
PNG, SVG = BOTH.replace(".svg or ", ""), BOTH.replace(" or .png", "")


@pytest.mark.parametrize(
    ("command", "option", "says"),
    [
        (("map", "nowhere"), "--picture", BOTH),
        (("run", "nowhere"), "--picture", SVG),
        (("compare", "nowhere"), "--picture", PNG),
        (("sweep", "nowhere", "--over", "batch=1"), "--picture", PNG),
        (("geometry", "nowhere"), "--out", PNG),
        (("learn", "nowhere"), "--picture", PNG),
        (("energy", "reprice", "nowhere"), "--plot", PNG),
        (("report", "nowhere"), "--png", PNG),
    ],
)
def test_pictures_of_another_kind_are_refused_before_any_work(command, option, says):
    for name, ends in (("a.jpg", "ends in '.jpg'"), ("a", "has no ending")):
        assert bad(*command, option, name) == f"{name} {ends}; {says}"
    for ending in says.split("drawn as ")[1].split(" or "):
        assert "nowhere" in bad(*command, option, f"a{ending.upper()}")


def test_unknown_keys():
    chip = (PRESETS / "gxnor45.toml").read_text(encoding="utf-8")
    Path("chip.toml").write_text("colour = 3\n" + chip, encoding="utf-8")
    unknown = "unknown key 'colour'; keys here are name, description, "
    assert bad("chips", "chip.toml").startswith(f"chip.toml: {unknown}")
    prices = (PRICE_PRESETS / "horowitz45.toml").read_text(encoding="utf-8")
    Path("prices.toml").write_text("colour = 3\n" + prices, encoding="utf-8")
    assert bad("energy", "prices", "prices.toml").startswith(f"prices.toml: {unknown}")


def test_unknown_recipe_key():
    pytest.importorskip("torch", reason="torch is not installed")
    recipe = NETWORK_FILE.with_name("recipe.toml").read_text(encoding="utf-8")
    Path("recipe.toml").write_text("colour = 3\n" + recipe, encoding="utf-8")
    assert bad("train", "recipe.toml").startswith(
        "recipe.toml: unknown key 'colour'; keys here are"
    )
    assert not Path("trained").exists()


def test_unknown_names():
    assert bad("run", "nope").startswith("no network 'nope'")
    assert "digits-gxnor" in bad("map", "nope")
    assert bad("run", "digits-gxnor", "--chip", "nope").startswith("no chip 'nope'")
    assert bad("run", "digits-gxnor", "--prices", "nope").startswith("no prices 'nope'")
    assert bad("chips", "nope").startswith("no chip 'nope'")
    assert bad("energy", "prices", "nope").startswith("no prices 'nope'")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "digits-gxnor", "--samples", "0"),
         "Invalid value for '--samples': 0 is not in the range x>=1; see neuromorph run --help"),
        (("run", "digits-gxnor", "--samples", "-3"), "-3 is not in the range x>=1"),
        (("run", "digits-gxnor", "--samples", "many"), "'many' is not a valid integer"),
        (("run", "digits-gxnor", "--mode", "fast"), "'fast' is not one of 'count', 'timed'"),
        (("run", "digits-gxnor", "--detail", "spikes"), "--detail says what a trace is like; name"),
        (("run", "digits-gxnor", "--compression", "none"), "--compression says what a trace is"),
        (("run", "digits-gxnor", "--detail", "flits"), "'flits' is not one of 'counts'"),
        (("run", "digits-gxnor", "--interval-s", "0"), "0.0 is not in the range x>0"),
        (("run", "digits-gxnor", "--samples", "2", "--interval-s", "nan"),
         "interval_s is nan; must be a positive number of seconds"),
        (("run", "digits-gxnor", "--detail", "packets", "--trace", "t.h5"),
         "mode 'count' has no packets to record; use mode='timed'"),
        (("run",), "Missing argument 'NETWORK'; see neuromorph run --help"),
        (("run", "a", "b"), "unexpected extra argument"),
        (("run", "digits-gxnor", "--colour"), "--colour"),
        (("fly",), "No such command 'fly'; see neuromorph --help"),
        (("--colour",), "--colour"),
        (("trace", "paint", "x"), "No such command 'paint'; see neuromorph trace --help"),
        (("energy", "reprice", "x", "--interval-s", "-1"), "-1.0 is not in the range x>0"),
        (("train", "digits-gxnor", "--epochs", "0"), "0 is not in the range x>=1"),
    ],
)  # fmt: skip
def test_bad_arguments(args, says):
    assert says in bad(*args)


# --- places that cannot be written


@pytest.mark.parametrize(
    "args",
    [
        ("demo", "--out", "file/out"),
        ("demo", "--out", "file"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "file/run.h5"),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "file/run.svg"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "folder"),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "folder"),
        ("run", "digits-gxnor", "--samples", "2", "--trace", "x" * 300),
        ("run", "digits-gxnor", "--samples", "2", "--picture", "x" * 300),
    ],
    ids=lambda args: " ".join(args)[:48],
)
def test_unwritable_output(args, elsewhere):
    (elsewhere / "file").write_text("kept")
    (elsewhere / "folder").mkdir()
    bad(*args)
    assert (elsewhere / "file").read_text() == "kept"
    assert not list((elsewhere / "folder").iterdir())
    assert sorted(p.name for p in elsewhere.iterdir()) == ["file", "folder"]


def test_full_disk_while_the_picture_is_written(elsewhere, monkeypatch):
    write = Path.write_bytes

    def fill(self, data):
        write(self, data[:100])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fill)
    says = bad("run", "digits-gxnor", "--samples", 2, "--picture", "run.svg")
    assert says == "cannot write picture run.svg: No space left on device"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file size")
@pytest.mark.parametrize("kilobytes", [0, 8, 200])
def test_disk_that_takes_no_more(kilobytes, elsewhere):
    """A limit on file size stands for a full disk: the system refuses to write on."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    result = process("demo", "--out", "out", preexec_fn=limit)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: cannot write trace")
    assert not (elsewhere / "out" / "demo.h5").exists()
    assert not (elsewhere / "out" / "demo.svg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_to_a_full_disk():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "neuromorph", "chips"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == "error: cannot use: No space left on device\n"


def test_too_little_memory(monkeypatch):
    def want(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("neuromorph.kernels.counting.count", want)
    assert bad("run", "digits-gxnor") == ("out of memory; run fewer samples at a time (--samples)")


# --- outputs


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trace", "net.svg"],
        ["--picture", "net.svg"],
        ["--data", "data.npz", "--trace", "data.npz"],
        ["--trace", "both.svg", "--picture", "both.svg"],
        ["--trace", "./x/../both.svg", "--picture", "both.svg"],
    ],
)
def test_an_output_never_replaces_what_the_command_reads_or_writes(
    arguments, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    save_network(nm.load_network("digits-gxnor"), "net.svg")  # a network under any name
    np.savez("data.npz", images=np.zeros((1, 1, 8, 8), np.uint8))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    answer = CliRunner().invoke(main, ["run", "net.svg", "--samples", "1", *arguments])
    assert answer.exit_code == 2
    assert "is read or written by this command already; choose another name" in answer.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_trace_does_not_replace_a_file_that_is_none(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("dear diary")
    common = ["run", "digits-gxnor", "--samples", "1", "--trace"]
    answer = CliRunner().invoke(main, [*common, str(notes)])
    assert answer.exit_code == 2
    assert "the file there is no trace; choose another name" in answer.stderr
    assert notes.read_text() == "dear diary"
    for _ in range(2):  # a trace may be replaced by a trace
        assert CliRunner().invoke(main, [*common, str(tmp_path / "run.h5")]).exit_code == 0


def test_json_carries_the_notes_of_the_prices():
    common = ["run", "digits-gxnor", "--samples", "1", "--json"]
    answer = CliRunner().invoke(main, [*common, "--chip", "loihi14"])
    assert (
        "these prices were written for chip gxnor45, not loihi14"
        in json.loads(answer.stdout)["notes"]
    )
    assert json.loads(CliRunner().invoke(main, common).stdout)["notes"] == []


def test_a_recipe_without_network_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks" / "mine").mkdir(parents=True)
    (tmp_path / "networks" / "mine" / "recipe.toml").write_text("")
    answer = CliRunner().invoke(main, ["run", "mine"])
    assert answer.exit_code == 2
    assert "network 'mine' has a recipe but is not trained; neuromorph train mine" in answer.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["report", "run.h5", "-o", "run.h5"],
        ["report", "run.html"],
        ["trace", "export", "run.h5", "--to", "perfetto", "-o", "./run.h5"],
        ["trace", "repack", "run.h5", "run.h5"],
        ["trace", "replay", "run.h5", "-o", "run.h5"],
        ["map", "net.st", "--out", "net.st"],
    ],
)
def test_commands_do_not_write_over_the_file_they_read(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network(nm.load_network("digits-gxnor"), "net.st")
    common = ["run", "digits-gxnor", "--samples", "1", "--trace"]
    for name in ("run.h5", "run.html"):
        assert CliRunner().invoke(main, [*common, name]).exit_code == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    answer = CliRunner().invoke(main, command)
    assert answer.exit_code == 2
    assert "is read or written by this command already; choose another name" in answer.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_dry_run_with_a_file_to_write_is_refused(tmp_path):
    out = tmp_path / "placed.map"
    answer = CliRunner().invoke(main, ["map", "digits-gxnor", "--dry-run", "--out", str(out)])
    assert answer.exit_code == 2
    assert "--dry-run writes nothing; leave it out to write a mapping" in answer.stderr
    assert not out.exists()
