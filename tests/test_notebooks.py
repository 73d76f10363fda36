"""What notebooks show."""

from xml.etree import ElementTree

import numpy as np

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
