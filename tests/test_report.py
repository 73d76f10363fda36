"""The picture of a run: well-formed, inside its canvas, and about this run.

Looks are judged by eye; what is checked is what can break unseen.
"""

import dataclasses
import re
import xml.dom.minidom

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.errors import SimulationError
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.report import draw_run


def run_of(layers=3, samples=6, mode="timed", name="deep", **chip):
    """A run of a chain of small layers."""
    rng = np.random.default_rng(0)
    chain = []
    for k in range(layers - 1):
        weights = rng.integers(-1, 2, (20, 20))
        chain += [Linear(name=f"a layer with a long name {k}", weights=weights)]
        chain += [Threshold(thresholds=np.tile([-1, 2], (20, 1)))]
    chain += [Linear(name="out", weights=rng.integers(-1, 2, (4, 20))), Readout()]
    network = Network(name=name, input=Input(shape=(20,)), layers=chain)
    target = dataclasses.replace(nm.load_chip("gxnor45"), **chip)
    inputs = rng.integers(-1, 2, (samples, 20))
    return nm.simulate(nm.map_network(network, target), inputs, mode=mode)


def draw(run, path, prices="horowitz45", **options):
    report = nm.estimate_energy(run.counts, nm.load_prices(prices))
    assert draw_run(run, report, path, **options) == path
    return xml.dom.minidom.parse(str(path)).documentElement


def texts(drawing):
    return [t.firstChild.data for t in drawing.getElementsByTagName("text")]


def boxes(node, x=0.0, y=0.0):
    """(left, top, right, bottom, what) of every mark; text at 0.56 em a letter."""
    for child in node.childNodes:
        if child.nodeType != child.ELEMENT_NODE:
            continue
        dx = dy = 0.0
        if move := re.match(r"translate\(([-\d.]+),([-\d.]+)\)", child.getAttribute("transform")):
            dx, dy = float(move[1]), float(move[2])
        at = {k: float(v) for k, v in child.attributes.items() if re.fullmatch(r"-?[\d.]+", v)}
        left, top = x + dx + at.get("x", 0), y + dy + at.get("y", 0)
        if child.tagName == "rect":
            assert at["width"] >= 0
            assert at["height"] >= 0
            yield left, top, left + at["width"], top + at["height"], "rect"
        elif child.tagName == "circle":
            yield x + at["cx"], y + at["cy"], x + at["cx"], y + at["cy"], "circle"
        elif child.tagName == "text":
            size = at.get("font-size", 13)
            width = 0.56 * size * len(child.firstChild.data)
            anchor = child.getAttribute("text-anchor")
            left -= {"end": width, "middle": width / 2}.get(anchor, 0)
            yield left, top - size, left + width, top, child.firstChild.data
        yield from boxes(child, x + dx, y + dy)


@pytest.mark.parametrize("mode", ["timed", "count"])
@pytest.mark.parametrize(
    ("layers", "samples", "chip"),
    [
        (1, 1, {}),
        (3, 2, {}),
        (7, 50, {"neurons": 10}),
        (8, 5, {"columns": 1, "rows": 64}),
        (24, 3, {"neurons": 3, "cores_per_tile": 4}),
        (2, 3, {"columns": 1024, "rows": 1024}),
    ],
)
def test_everything_is_on_the_canvas(layers, samples, chip, mode, tmp_path):
    drawing = draw(run_of(layers, samples, mode, **chip), tmp_path / "run.svg")
    found = list(boxes(drawing))
    assert len(found) > 30
    for left, top, right, bottom, what in found:
        assert left >= -0.01, what
        assert top >= -0.01, what
        assert right <= 1200.01, what
        assert bottom <= 800.01, what


def test_time_is_drawn_sample_by_sample(tmp_path):
    run = run_of(samples=9)
    drawing = draw(run, tmp_path / "run.svg", labels=run.predictions)
    assert len(drawing.getElementsByTagName("circle")) == 9
    words = " ".join(texts(drawing))
    assert "Latency in µs against synaptic events, 9 samples" in words
    assert "Cores on the mesh, share of time busy" in words
    assert "accuracy 100.00%" in words
    assert f"{run.counts.resting_fraction:.1%} of pairs at rest" in words
    assert "energy " in words
    assert "no total" not in words


def test_without_time_the_events_are_spread_in_a_histogram(tmp_path):
    run = run_of(samples=1, mode="count")
    drawing = draw(run, tmp_path / "run.svg")
    assert len(drawing.getElementsByTagName("circle")) == 0
    words = " ".join(texts(drawing))
    assert "Samples by their synaptic events, 1 sample" in words
    assert "share of time busy" not in words
    assert "dynamic energy" in words
    assert "no total: static energy is power" in words


def test_heights_of_the_histogram_are_the_samples(tmp_path):
    run = run_of(samples=400, mode="count")
    drawing = draw(run, tmp_path / "run.svg")
    panel = drawing.getElementsByTagName("g")[-1]
    bars = [float(r.getAttribute("height")) for r in panel.getElementsByTagName("rect")]
    scale = [t for t in panel.getElementsByTagName("text") if t.getAttribute("x") == "-8"]
    most = max(int(t.firstChild.data.replace(",", "")) for t in scale)
    assert sum(bars) / 220 * most == pytest.approx(400, rel=0.02)  # drawn to a tenth of a pixel


def test_only_so_many_samples_and_layers_are_drawn(tmp_path):
    drawing = draw(run_of(26, 2100), tmp_path / "run.svg")
    assert len(drawing.getElementsByTagName("circle")) == 2000
    assert "and 6 more layers" in texts(drawing)
    assert any("the first 2,000 of 2,100 samples" in t for t in texts(drawing))


def test_only_the_used_part_of_the_mesh_is_drawn(tmp_path):
    drawing = draw(run_of(3), tmp_path / "run.svg")
    assert "3 of 256 cores used; shown: 4 × 2 of 16 × 16 tiles" in texts(drawing)
    assert texts(drawing).count("out") == 2  # in its core and beside its bar


def test_unpriced_actions_are_named(tmp_path):
    words = " ".join(texts(draw(run_of(3), tmp_path / "run.svg", prices="loihi14")))
    assert "no total: prices 'loihi14' have no price for 'token_out'" in words


def test_names_are_escaped(tmp_path):
    drawing = draw(run_of(name='<b> & "c"'), tmp_path / "run.svg")
    assert texts(drawing)[0] == '<b> & "c" on gxnor45'
    assert not drawing.getElementsByTagName("b")


def test_long_names_are_cut(tmp_path):
    title = texts(draw(run_of(name="n" * 128), tmp_path / "run.svg"))[0]
    assert len(title) == 80
    assert title.endswith("…")


def test_labels_that_do_not_fit(tmp_path):
    run = run_of()
    report = nm.estimate_energy(run.counts, nm.load_prices("horowitz45"))
    with pytest.raises(SimulationError, match=r"run\.png ends in '\.png'; .* drawn as \.svg$"):
        draw_run(run, report, tmp_path / "run.png")
    with pytest.raises(SimulationError, match="need 6 integers"):
        draw_run(run, report, tmp_path / "run.svg", labels=[1])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    run, folder = run_of(), tmp_path / "run.svg"
    folder.mkdir()
    report = nm.estimate_energy(run.counts, nm.load_prices("horowitz45"))
    with pytest.raises(SimulationError, match=r"cannot write picture .*: Is a directory"):
        draw_run(run, report, folder)
    assert list(tmp_path.iterdir()) == [folder]
