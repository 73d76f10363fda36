"""Random models of other frameworks against their integer networks.

    python verification/imports.py [--models 100] [--seed 0]

In turn a torch module, a Brevitas module, an ONNX model and a QONNX model, of
random layers, weight spaces, batch norms and activations.  Every import
compares all levels of all layers with its framework; the scores of the
integer network are then compared with those of torch, onnxruntime or the
executor of qonnx.  Scales are powers of two, so nothing may differ.  Prints a
verdict; exit 1 at the first difference, with the seed that shows it.
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import test_interop_onnx
import test_interop_torch
import torch
from torch import nn

from neuromorph.interop import from_onnx
from neuromorph.training import from_torch


def brevitas_module(seed):
    """A random Brevitas module with samples for it; scales are powers of two."""
    from brevitas import nn as qnn
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8WeightPerTensorFixedPoint,
        SignedBinaryWeightPerTensorConst,
        SignedTernaryWeightPerTensorConst,
        Uint8ActPerTensorFixedPoint,
    )

    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)

    def weights():
        kind = rng.integers(0, 3)
        if kind == 2:
            return {"weight_quant": Int8WeightPerTensorFixedPoint, "weight_bit_width": 4}
        quant = (SignedBinaryWeightPerTensorConst, SignedTernaryWeightPerTensorConst)[kind]
        return {"weight_quant": quant, "weight_scaling_init": 0.25}

    def activation():
        bits = int(rng.integers(2, 5))
        if rng.random() < 0.5:
            return qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=bits)
        return qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=bits)

    out, hidden = int(rng.integers(2, 6)), int(rng.integers(3, 16))
    model = nn.Sequential(
        qnn.QuantConv2d(1, out, 3, padding=1, bias=False, **weights()),
        test_interop_torch.normal(nn.BatchNorm2d(out), rng),
        activation(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(9 * out, hidden, bias=False, **weights()),
        test_interop_torch.normal(nn.BatchNorm1d(hidden), rng),
        activation(),
        qnn.QuantLinear(hidden, 4, bias=False, **weights()),
    )
    for layer in model:
        if getattr(layer, "weight", None) is not None and layer.weight.ndim > 1:
            nn.init.uniform_(layer.weight, -0.7, 0.7)
    samples = torch.tensor(rng.integers(0, 16, (24, 1, 6, 6)))
    model(samples.float())  # activations collect their scales in training mode
    return model.eval(), samples


def torch_case(seed, build):
    module, samples = build(seed)
    network = from_torch(module, samples)
    test_interop_torch.agree(network, module, samples)
    return network


def onnx_case(seed):
    builder, samples = test_interop_onnx.random_model(seed)
    with tempfile.TemporaryDirectory() as folder:
        network = from_onnx(builder.save(Path(folder) / "model.onnx"), samples)
    test_interop_onnx.agree(network, builder.model(), samples)
    return network


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--models", type=int, default=100)
    p.add_argument("--seed", type=int, default=0)
    arguments = p.parse_args()
    warnings.simplefilter("ignore")
    kinds = {
        "torch": lambda seed: torch_case(seed, test_interop_torch.random_module),
        "Brevitas": lambda seed: torch_case(seed, brevitas_module),
        "ONNX": lambda seed: onnx_case(2 * seed),
        "QONNX": lambda seed: onnx_case(2 * seed + 1),
    }
    start, compared, done = time.perf_counter(), 0, dict.fromkeys(kinds, 0)
    for case in range(arguments.models):
        seed = arguments.seed + case
        kind = list(kinds)[case % 4]
        try:
            imported = kinds[kind](seed).meta["imported"]
        except Exception as error:
            raise SystemExit(f"DIFFERENT: seed {seed}, {kind}: {error}") from error
        if imported["differ_by_rounding"]:
            raise SystemExit(f"DIFFERENT: seed {seed}, {kind}: {imported}")
        compared += imported["levels_compared"]
        done[kind] += 1
    minutes = (time.perf_counter() - start) / 60
    counts = ", ".join(f"{count} {kind}" for kind, count in done.items())
    print(f"OK: {counts} models: {compared:,} levels compared, 0 differ ({minutes:.1f} min)")


if __name__ == "__main__":
    main()
