"""The PNG of a trace: drawn for every level of detail; a missing matplotlib is named.

Looks are judged by eye; that numbers are those of the trace is tested where
they are gathered (test_report_page.py).
"""

import dataclasses
import sys

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import MissingDependencyError, SimulationError
from neuromorph.report import gather, write_figure, write_report
from neuromorph.trace import Trace


@pytest.fixture(scope="module")
def mapping():
    return nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))


@pytest.mark.parametrize(
    ("mode", "detail", "samples"),
    [
        ("count", "counts", 5),
        ("count", "spikes", 5),
        ("timed", "packets", 20),
        ("timed", "hops", 1),
    ],
)
def test_every_level_of_detail_is_drawn(mode, detail, samples, mapping, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.image import imread

    images = load_data("digits").test_images[:samples]
    nm.simulate(mapping, images, mode=mode, detail=detail, trace=tmp_path / "run.h5")
    with Trace(tmp_path / "run.h5") as trace:
        prices = nm.load_prices("horowitz45") if samples == 5 else None
        path = write_figure(trace, tmp_path / "new" / "run.png", prices=prices)
    picture = imread(path)
    assert min(picture.shape[:2]) > 1000
    panels = [part for row in np.array_split(picture, 3) for part in np.array_split(row, 2, axis=1)]
    for panel in panels:  # six of them, none blank
        assert panel[..., :3].std() > 0.02
    assert [p.name for p in path.parent.iterdir()] == ["run.png"]


def test_what_is_missing_or_cannot_be_written_is_said(mapping, tmp_path, monkeypatch):
    nm.simulate(mapping, load_data("digits").test_images[:1], trace=tmp_path / "run.h5")
    with Trace(tmp_path / "run.h5") as trace:
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        with pytest.raises(SimulationError, match=r"^cannot write picture .*: .*[a-z]$"):
            write_figure(trace, tmp_path / "run.h5" / "run.png")
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingDependencyError, match="a picture needs matplotlib, which"):
            write_figure(trace, tmp_path / "run.png")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"routing": "multicast"},
        {"dead_links": ((0, 0, "east"), (1, 0, "west"))},
        {"routing": "multicast", "dead_links": ((0, 0, "east"), (1, 0, "west"))},
    ],
    ids=["plain", "trees", "dead links", "both"],
)
def test_packets_over_links_are_those_of_the_engine(changes, tmp_path):
    network, data = nm.load_network("digits-gxnor"), load_data("digits")
    chip = dataclasses.replace(nm.load_chip("gxnor45"), **changes)
    mapping = nm.map_network(network, chip)
    for detail in ("hops", "packets"):
        path = tmp_path / f"{detail}.h5"
        run = nm.simulate(mapping, data.test_images[:2], mode="timed", detail=detail, trace=path)
        with Trace(path) as trace:
            loads = gather.link_loads(trace, gather.gather_traffic(trace))
            page = write_report(trace, tmp_path / "run.html").read_text()
        if detail == "packets" and changes:
            assert loads is None
            assert "record the run with --detail hops to see its links" in page
            continue
        wanted = run.timing.link_packets[..., : len(gather.STEPS)]
        found = np.zeros_like(wanted)
        for (x, y, to_x, to_y), number in loads.items():
            found[y, x, gather.STEPS.index((to_x - x, to_y - y))] = number
        assert np.array_equal(found, wanted)
        assert found[0, 0].sum() > 0
        assert f"{wanted.sum():,} crossings" in page


def test_waiting_by_link_is_that_of_the_hops(mapping, tmp_path):
    images = load_data("digits").test_images[:3]
    run = nm.simulate(mapping, images, mode="timed", detail="hops", trace=tmp_path / "run.h5")
    with Trace(tmp_path / "run.h5") as trace:
        waited = gather.gather_traffic(trace).waited
    assert sum(waited.values()) == int(run.timing.link_waited.sum())
    for (x, y, to_x, to_y), ticks in waited.items():
        side = gather.STEPS.index((to_x - x, to_y - y))
        assert run.timing.link_waited[y, x, side] == ticks
