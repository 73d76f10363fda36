"""What notebooks show, and what becomes a data frame."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.network import Input, Linear, Readout


def test_a_network_shows_a_row_a_layer():
    network = nm.load_network("digits-gxnor")
    table = ElementTree.fromstring(network._repr_html_())
    rows = [[cell.text for cell in row] for row in table.find("tbody")]
    assert [row[0] for row in rows] == [s.name for s in network.stages]
    assert sum(int(row[-1].replace(",", "")) for row in rows) == network.synapses


def test_names_are_escaped():
    layers = [Linear(name="<b>&", weights=np.ones((2, 2), int)), Readout()]
    network = nm.Network(name="x", input=Input(shape=(2,)), layers=layers)
    assert "<b>" not in network._repr_html_()
    assert ElementTree.fromstring(network._repr_html_()).find("tbody/tr/td").text == "<b>&"


@pytest.fixture(scope="module")
def run():
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    return nm.simulate(mapping, np.ones((3, 1, 8, 8), int), mode="timed")


def shown(thing):
    """Cells of all tables, row by row, and all text."""
    tree = ElementTree.fromstring(thing._repr_html_())
    cells = [[cell.text or "" for cell in row] for row in tree.iter("tr")]
    return cells, " ".join(tree.itertext())


def test_tables_in_notebooks_are_those_of_print(run):
    """Every word of the plain text stands in the notebook too, and in the same order."""
    report = nm.estimate_energy(run.counts, nm.load_prices("horowitz45"))
    for thing in (run, run.counts, run.mapping, report):
        words = re.sub(r"-{3,}|[<>]", "", str(thing)).split()
        found = "".join(shown(thing)[1].split())
        assert found.endswith("".join(words)), type(thing).__name__


def test_a_run_says_how_long_it_took(run):
    assert f"latency {run.latency_s * 1e6:.3g} µs" in shown(run)[1]


def test_a_mapping_shows_a_square_a_core(run):
    tree = ElementTree.fromstring(run.mapping._repr_html_())
    titles = [title.text for title in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        f"core {s.core}: {s.layer}, {s.neurons:,} neurons" for s in run.mapping.slices
    ]
    places = {(r.get("x"), r.get("y")) for r in tree.iter("{http://www.w3.org/2000/svg}rect")}
    assert len(places) == run.mapping.cores_used


def test_long_tables_of_slices_are_cut(run, monkeypatch):
    monkeypatch.setattr("neuromorph.mapping.notebook.SHOWN_ROWS", 2)
    rows, text = shown(run.mapping)
    assert len(rows) == 3
    assert f"and {run.mapping.cores_used - 2} more slices" in text


def test_counts_as_a_data_frame(run):
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = run.counts.to_pandas()
    assert len(frame) == 3 * len(run.counts.layers)
    by_layer = frame.groupby("layer")["xnor_event"].sum()
    place = run.counts.actions.index("xnor_event")
    assert {k: int(v[place]) for k, v in run.counts.by_layer().items()} == by_layer.to_dict()


def test_without_pandas_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(nm.NeuromorphError, match=r"needs pandas, .*'neuromorph\[export\]'"):
        run.counts.to_pandas()
