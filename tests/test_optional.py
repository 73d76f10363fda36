"""The package works without any optional package, and imports none by itself."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    "brian2",
    "brevitas",
    "dask",
    "hdf5plugin",
    "libsonata",
    "matplotlib",
    "neo",
    "neurobench",
    "nir",
    "onnx",
    "onnxruntime",
    "pandas",
    "qonnx",
    "torch",
]

CODE = """
import sys
for name in {packages!r}:
    sys.modules[name] = None  # importing it is an ImportError
import neuromorph as nm
import neuromorph.cli, neuromorph.data, neuromorph.interop, neuromorph.report
net, chip = nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")
for name in nm.__all__:
    getattr(nm, name)
run = nm.simulate(nm.map_network(net, chip), neuromorph.data.load_data("digits").test_images[:3])
print(len(run))
"""


def test_everything_but_the_extras_works_without_them():
    code = CODE.format(packages=PACKAGES)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_all_is_every_extra_for_users():
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    whole = set(extras["all"][0].removeprefix("neuromorph[").removesuffix("]").split(","))
    apart = {"all", "cluster", "compression", "dev", "docs", "judges"}
    assert whole == set(extras) - apart


WITHOUT_KERNELS = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("neuromorph.kernels"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
from neuromorph.training import load_recipe, train_seeds
result = train_seeds(load_recipe("digits-gxnor"), 1, out=sys.argv[1], epochs=1, progress=False)
print(result["network"]["seed"])
"""


def test_training_needs_no_compiled_kernels(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    code = [sys.executable, "-c", WITHOUT_KERNELS, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
