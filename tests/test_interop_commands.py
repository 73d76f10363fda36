"""``import`` and ``export`` on the command line."""

import json
import sys

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.network import Input, Linear, Readout, Threshold


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)], standalone_mode=True)
    return stopped.value.code, capsys.readouterr()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = nm.Network(
        name="flat",
        input=Input(shape=(4,)),
        layers=[
            Linear(name="a", weights=np.eye(4, dtype=int)),
            Threshold(thresholds=[[0, 1]] * 4),
            Linear(name="b", weights=np.eye(4, dtype=int)),
            Readout(),
        ],
    )
    nm.save_network(network, "flat")
    return tmp_path


def test_out_to_nir_and_back(folder, capsys):
    pytest.importorskip("nir", reason="nir is not installed")
    code, said = call(capsys, "export", "flat", "--to", "nir")
    assert code == 0
    assert "flat.nir: " in said.out
    code, said = call(capsys, "import", "flat.nir", "-o", "back", "--json")
    assert code == 0
    assert json.loads(said.out)["neurons"] == 8
    assert nm.load_network("back") == nm.load_network("flat")


def test_in_from_onnx(folder, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from test_interop_onnx import random_model

    builder, samples = random_model(4)
    builder.save("model.onnx")
    np.savez("samples.npz", images=samples)
    code, said = call(capsys, "import", "model.onnx", "--samples", "samples.npz", "-o", "net")
    assert (code, said.err) == (0, "")
    assert ", 0 differ\nan input level is worth 1: samples" in said.out
    assert nm.load_network("net").name == "model"


def test_bad_files_end_with_one_sentence(folder, capsys, monkeypatch):
    code, said = call(capsys, "import", "model.pt")
    assert (code, said.err) == (2, "error: model.pt ends in '.pt'; give a .onnx or .nir file\n")
    monkeypatch.setitem(sys.modules, "nir", None)
    code, said = call(capsys, "export", "flat", "--to", "nir")
    assert code == 2
    assert said.err == "error: nir is not installed; run: pip install 'neuromorph[nir]'\n"
