"""Commands about traces, as a user types them."""

import json

import pytest
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.data import load_data
from neuromorph.trace import difference


@pytest.fixture(scope="module")
def mapping():
    return nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))


@pytest.fixture(scope="module")
def recorded(mapping, tmp_path_factory):
    """A packet trace of 3 digits."""
    path = tmp_path_factory.mktemp("trace") / "run.h5"
    data = load_data("digits")
    nm.simulate(
        mapping, data.test_images[:3], mode="timed", labels=data.test_labels[:3], trace=path
    )
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(*args, code=0):
    """Output of a command that must end with ``code``."""
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.stderr if code == 2 else result.stdout


def test_report(recorded, tmp_path):
    said = json.loads(command("report", recorded, "-o", "page.html", "--json"))
    page = tmp_path / "page.html"
    assert said == {
        "trace": str(recorded), "complete": True, "report": "page.html",
        "bytes": page.stat().st_size,
    }  # fmt: skip
    assert "digits-gxnor on gxnor45" in page.read_text(encoding="utf-8")
    command("report", recorded)
    assert recorded.with_suffix(".html").read_bytes() == page.read_bytes()


def test_report_of_nothing():
    assert command("report", "no.h5", code=2) == (
        "error: cannot read trace no.h5: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("to", "name", "files"),
    [
        ("csv", "run.csv", 6),
        ("sonata", "run.sonata.h5", 1),
        ("perfetto", "run.perfetto.json", 1),
        ("sanafe", "run.sanafe", 2),
    ],
)
def test_export(to, name, files, recorded):
    said = json.loads(command("trace", "export", recorded, "--to", to, "--json"))
    assert said["out"] == str(recorded.with_name(name))
    assert len(said["files"]) == files
    assert min(said["files"].values()) > 100
    small = json.loads(
        command("trace", "export", recorded, "--to", to, "-o", "a", "--samples", 1, "--json")
    )
    assert sum(small["files"].values()) <= sum(said["files"].values())  # HDF5 has whole blocks


def test_diff_and_repack_and_replay(recorded, mapping):
    said = json.loads(
        command("trace", "repack", recorded, "b.h5", "--compression", "none", "--json")
    )
    assert said["trace"] == "b.h5"
    assert said["bytes"] > said["bytes_before"] == recorded.stat().st_size
    assert command("trace", "diff", recorded, "b.h5") == f"{recorded} and b.h5 hold the same data\n"
    same = {"same": True, "difference": None}
    assert json.loads(command("trace", "diff", recorded, "b.h5", "--json")) == same
    assert json.loads(command("trace", "replay", recorded, "-o", "c.h5", "--json")) == same
    assert json.loads(command("trace", "diff", "c.h5", "b.h5", "--json")) == same
    data = load_data("digits")
    nm.simulate(
        mapping, data.test_images[:3], mode="timed", labels=data.test_labels[1:4], trace="d.h5"
    )
    assert command("trace", "diff", recorded, "d.h5", code=1).startswith(
        "first difference: samples, label, row 0: "
    )
    found = json.loads(command("trace", "diff", recorded, "d.h5", "--json", code=1))
    assert found["same"] is False
    assert (found["difference"]["table"], found["difference"]["row"]) == ("samples", 0)
    other = command("trace", "replay", recorded, "--network", "mnist-mlp-gxnor", code=2)
    assert "was recorded from network 'digits-gxnor'" in other


@pytest.mark.parametrize("detail", [None, "hops"])
def test_a_run_chooses_the_compression_of_its_trace(detail, tmp_path):
    sizes = {}
    for compression in ("gzip", "none"):
        path = tmp_path / f"{compression}.h5"
        words = ["run", "digits-gxnor", "--mode", "timed", "--samples", "3", "--trace", str(path)]
        words += ["--compression", compression, *(["--detail", detail] if detail else [])]
        assert CliRunner().invoke(main, words).exit_code == 0
        sizes[compression] = path.stat().st_size
    assert sizes["none"] > 3 * sizes["gzip"]
    with nm.Trace(tmp_path / "gzip.h5") as one, nm.Trace(tmp_path / "none.h5") as other:
        assert one.detail == (detail or "packets")
        assert difference(one, other) is None
