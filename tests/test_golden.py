"""Golden traces: running the same again gives the same data, column by column.

The chip and the mapping are those in the file, so that presets and placement
may change; network and samples are drawn by the script that made the files.
"""

import runpy
from pathlib import Path

import pytest

import neuromorph as nm
from neuromorph.trace import Trace, difference, validate

GOLDEN = Path(__file__).resolve().parents[1] / "traces" / "golden"
MAKE = runpy.run_path(str(GOLDEN / "make.py"))


def test_the_files_are_those_of_the_script_and_small():
    files = {p.name: p.stat().st_size for p in GOLDEN.glob("*.h5")}
    assert files.keys() == MAKE["RUNS"].keys()
    assert sum(files.values()) < 150_000
    details = {detail for _, detail, _ in MAKE["RUNS"].values()}
    assert details == {"counts", "spikes", "packets", "hops"}


@pytest.mark.parametrize("name", MAKE["RUNS"])
def test_a_run_again_gives_the_same_data(name, tmp_path):
    images, labels = MAKE["samples"]()
    assert validate(GOLDEN / name) == []
    with Trace(GOLDEN / name) as golden:
        assert (golden.mode, golden.detail) == MAKE["RUNS"][name][:2]
        mapping = golden.mapping(MAKE["network"]())
        nm.simulate(
            mapping, images, mode=golden.mode, labels=labels, detail=golden.detail,
            trace=tmp_path / name,
        )  # fmt: skip
        with Trace(tmp_path / name) as again:
            assert difference(golden, again) is None
            assert again.created >= golden.created


@pytest.mark.parametrize("name", MAKE["RUNS"])
def test_golden_traces_hold_what_can_go_wrong(name):
    """Several cores a layer, graded and XNOR events, and levels of both signs beyond one."""
    with Trace(GOLDEN / name) as golden:
        assert len(golden.slices) > len(golden.network_info.layers)
        assert golden.counts.total("xnor_event") > 100
        assert golden.counts.total("graded_event") > 100
        if golden.detail != "counts":
            spikes = golden.spikes()
            hidden = set(spikes["level"][spikes["layer"] == 2].tolist())
            assert hidden == {-2, -1, 1, 2}
        if golden.holds("packets"):
            assert golden.counts.total("hop_x") > 0
            assert (golden.counts.total("token_in") > 0) == (name != "packets-barrier.h5")


def test_the_script_makes_all_of_them(tmp_path):
    made = MAKE["make"](tmp_path)
    assert [p.name for p in made] == list(MAKE["RUNS"])
    for path in made:
        assert validate(path) == []
