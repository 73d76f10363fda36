"""ONNX and QONNX models are imported to the level; onnxruntime and qonnx are the judges."""

import sys

import numpy as np
import pytest

import neuromorph as nm
from networks import roomy
from neuromorph.errors import MissingDependencyError, NetworkError
from neuromorph.interop import from_onnx

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT


class Builder:
    """A model node by node."""

    def __init__(self, shape, batch="N", domain="qonnx.custom_op.general"):
        self.nodes, self.constants, self.now, self.domain = [], [], "x", domain
        self.input = helper.make_tensor_value_info("x", FLOAT, [batch, *shape])

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind, *constants, domain="", feed=None, **attributes):
        inputs = [self.now if feed is None else feed]
        inputs += [c if isinstance(c, str) else self.constant(c) for c in constants]
        out = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [out], name=f"n{len(self.nodes)}", domain=domain,
                             **attributes)
        )  # fmt: skip
        if feed is None:
            self.now = out
        return out

    def quant(self, scale, bits, *, feed=None, signed=1, narrow=0):
        if feed is None:
            return self.add("Quant", f32(scale), f32(0), f32(bits), domain=self.domain,
                            signed=signed, narrow=narrow, rounding_mode="ROUND")  # fmt: skip
        return self.add("Quant", f32(scale), f32(0), f32(bits), domain=self.domain, feed=feed,
                        signed=signed, narrow=narrow, rounding_mode="ROUND")  # fmt: skip

    def model(self):
        out = helper.make_tensor_value_info(self.now, FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [self.input], [out], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(self.domain, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def save(self, path):
        onnx.save(self.model(), path)
        return path


def f32(value):
    return np.asarray(value, np.float32)


def norm(builder, rng, channels):
    builder.add(
        "BatchNormalization", *(f32(rng.uniform(low, high, channels)) for low, high in
        ((-1.5, 1.5), (-0.5, 0.5), (-2, 2), (0.3, 4))), epsilon=1e-5,
    )  # fmt: skip


def activation(builder, rng, quantised):
    if quantised:
        if rng.random() < 0.3:
            builder.add("BipolarQuant", f32(0.5), domain=builder.domain)
        elif rng.random() < 0.5:
            builder.quant(0.5, 2, narrow=1)  # ternary
        else:
            builder.quant(0.25, int(rng.integers(2, 5)), signed=int(rng.integers(0, 2)))
        return
    kind = rng.integers(0, 3)
    if kind == 0:
        builder.add("Sign")
    elif kind == 1:
        builder.add("Mul", f32(4.0))
        builder.add("Round")
        builder.add("Clip", f32(-3.0), f32(4.0))
    else:
        builder.add("Relu")
        builder.add("QuantizeLinear", f32(0.25), np.uint8(0))
        builder.add("Clip", np.uint8(0), np.uint8(7))
        builder.add("DequantizeLinear", f32(0.25), np.uint8(0))


def weights(builder, rng, shape, quantised):
    """Name of a constant, or of a Quant node over float weights."""
    n = int(rng.integers(0, 3))
    levels = rng.choice([-1, 1], shape) if n == 0 else rng.integers(-(2**n), 2**n + 1, shape)
    if not quantised:
        return f32(levels * 0.125)
    near = builder.constant(f32(levels * 0.125 + rng.uniform(-0.05, 0.05, shape)))
    return builder.quant(0.125, 4, feed=near, narrow=1)


def random_model(seed):
    """(builder, samples): a random model; odd seeds speak QONNX."""
    rng = np.random.default_rng(seed)
    quantised, channels, side = bool(seed % 2), int(rng.integers(1, 4)), 6
    images = rng.random() < 0.6
    builder = Builder((channels, side, side) if images else (12,))
    features = 12
    if images:
        for _ in range(int(rng.integers(1, 3))):
            out = int(rng.integers(1, 5))
            builder.add("Conv", weights(builder, rng, (out, channels, 3, 3), quantised),
                        kernel_shape=[3, 3], pads=[1, 1, 1, 1])  # fmt: skip
            if rng.random() < 0.5 and side >= 2:
                builder.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
                side //= 2
            norm(builder, rng, out)
            activation(builder, rng, quantised)
            channels = out
        builder.add("Flatten")
        features = channels * side * side
    for _ in range(int(rng.integers(0, 3))):
        out = int(rng.integers(2, 16))
        if rng.random() < 0.5:
            builder.add("MatMul", weights(builder, rng, (features, out), quantised))
            builder.add("Add", f32(rng.integers(-4, 5, out) * 0.125))
        else:
            builder.add("Gemm", weights(builder, rng, (out, features), quantised),
                        f32(rng.integers(-4, 5, out) * 0.125), transB=1)  # fmt: skip
        norm(builder, rng, out)
        activation(builder, rng, quantised)
        features = out
    builder.add("MatMul", weights(builder, rng, (features, 4), quantised))
    if rng.random() < 0.5:
        builder.add("Mul", f32(0.3))
        builder.add("Add", f32(rng.normal(size=4)))
    shape = [d.dim_value for d in builder.input.type.tensor_type.shape.dim[1:]]
    return builder, rng.integers(0, 8, (12, *shape))


def judge(model, samples):
    """Scores by onnxruntime, or by the executor of qonnx for its operators."""
    if any(n.domain for n in model.graph.node):
        qonnx = pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
        from qonnx.core.modelwrapper import ModelWrapper

        batched = onnx.ModelProto()
        batched.CopyFrom(model)
        batched.graph.input[0].type.tensor_type.shape.dim[0].dim_value = len(samples)
        from qonnx.transformation.infer_shapes import InferShapes

        wrapped = ModelWrapper(batched).transform(InferShapes())
        found = qonnx.execute_onnx(wrapped, {"x": f32(samples)})
        return found[model.graph.output[0].name]
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": f32(samples)})[0]


def agree(network, model, samples):
    mapping = nm.map_network(network, roomy(nm.load_chip("gxnor45")))
    found = network.scores(nm.simulate(mapping, np.asarray(samples)).outputs)
    assert np.allclose(found, judge(model, samples), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(16))
def test_random_models_are_imported_exactly(seed, tmp_path):
    builder, samples = random_model(seed)
    network = from_onnx(builder.save(tmp_path / "model.onnx"), samples)
    assert network.name == "model"
    assert network.meta["imported"]["differ_by_rounding"] == 0  # scales are powers of two
    agree(network, builder.model(), samples)


def test_without_samples_random_ones_are_compared(tmp_path):
    builder, _ = random_model(4)
    network = from_onnx(builder.save(tmp_path / "a.onnx"), bits=3)
    assert network.input.bits == 3
    assert network.meta["imported"]["levels_compared"] > 1000


def test_a_quantiser_in_front_says_what_the_input_is(tmp_path):
    builder = Builder((5,), batch=1)
    builder.quant(0.125, 4)
    builder.add("MatMul", f32(np.random.default_rng(0).integers(-1, 2, (5, 3))))
    builder.add("Softmax")
    network = from_onnx(builder.save(tmp_path / "a.onnx"))
    assert (network.input.encoding, network.input.bits) == ("graded", 4)
    assert network.meta["imported"]["unit"] == 0.125


# --- what is refused


def test_a_model_quantised_in_qdq_format(tmp_path):
    """int8 weights, biases and activations between Quantize- and DequantizeLinear."""
    rng = np.random.default_rng(5)
    builder = Builder((2, 6, 6))

    def weighted(kind, *shape, **attributes):
        levels = rng.integers(-127, 128, shape).astype(np.int8)
        known = builder.add(
            "DequantizeLinear", f32(2**-7), np.int8(0), feed=builder.constant(levels)
        )
        bias = [f32(rng.integers(-50, 50, shape[0]) / 64)]
        builder.add(kind, known, *bias, **attributes)

    def requantise(scale):
        builder.add("QuantizeLinear", f32(scale), np.int8(0))
        builder.add("DequantizeLinear", f32(scale), np.int8(0))

    requantise(1.0)
    weighted("Conv", 4, 2, 3, 3, kernel_shape=[3, 3])
    requantise(0.5)
    builder.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    builder.add("Flatten")
    weighted("Gemm", 5, 16, transB=1)
    requantise(2.0)
    weighted("Gemm", 3, 5, transB=1)
    samples = rng.integers(-100, 101, (40, 2, 6, 6))
    network = from_onnx(builder.save(tmp_path / "model.onnx"), samples)
    agree(network, builder.model(), samples)
    assert network.meta["imported"]["differ_by_rounding"] == 0


def simple(kind="Sign", *constants, **attributes):
    builder = Builder((4,))
    builder.add("MatMul", f32(np.eye(4)))
    builder.add(kind, *constants, **attributes)
    builder.add("MatMul", f32(np.eye(4)))
    return builder


def open_shape():
    builder = simple()
    builder.input = helper.make_tensor_value_info("x", FLOAT, ["N", "features"])
    return builder


def float_weights():
    builder = Builder((4,))
    builder.add("MatMul", f32(np.random.default_rng(0).normal(size=(4, 3))))
    return builder


def skip():
    builder = simple()
    builder.add("Add", "v1")
    return builder


def pooled(**attributes):
    builder = Builder((1, 6, 6))
    builder.add("Conv", f32(np.ones((2, 1, 3, 3))))
    builder.add("MaxPool", kernel_shape=[2, 2], **attributes)
    return builder


def conv(**attributes):
    builder = Builder((2, 6, 6))
    builder.add("Conv", f32(np.ones((2, attributes.pop("inputs", 2), 3, 3))), **attributes)
    return builder


def from_the_left():
    builder = Builder((4,))
    weights = builder.constant(f32(np.eye(4)))
    builder.now = builder.add("MatMul", builder.now, feed=weights)
    return builder


def joined():
    builder = simple()
    builder.add("MatMul", "v0")
    return builder


def gemm(**attributes):
    builder = Builder((4,))
    builder.add("Gemm", f32(np.eye(4)), **attributes)
    return builder


def that_does_not_run():
    builder = simple()
    builder.add("Sign")
    builder.add("MatMul", f32(np.eye(3)))
    return builder


@pytest.mark.parametrize(
    ("builder", "says"),
    [
        (from_the_left(), "'n0' multiplies weights from the left; not possible"),
        (joined(), "'n3' joins 2 computed values; its weights must be constants"),
        (gemm(alpha=2.0), "'n0' has alpha, beta or transA; not possible"),
        (that_does_not_run(), "the model does not run: "),
        (float_weights(), "layer 'n0' has float weights on no grid of at most 257 levels"),
        (open_shape(), r"input 'x' has shape \['N', 'features'\]; .*export the model with fixed"),
        (simple("Sigmoid"), "layer 'n0': Sigmoid gives values on no grid"),
        (simple("Softmax"), "Softmax after layer 'n0' does not act on each neuron alone"),
        (simple("Frobnicate"), "Frobnicate cannot be imported .*; supported are"),
        (skip(), "joins more than one layer; networks are a plain chain"),
        (pooled(pads=[1, 1, 1, 1], strides=[2, 2]), "'n1' is a max-pool with padding"),
        (conv(group=2, inputs=1), "is a convolution with groups, uneven pads"),
        (conv(pads=[1, 0, 0, 0]), "is a convolution with groups, uneven pads"),
        (conv(auto_pad="SAME_UPPER"), "pads by itself; give it explicit pads"),
        (
            simple("MatMulInteger", np.eye(4, dtype=np.int8)),
            "'n1' computes on quantised integers and is not read; quantise the model in the QDQ",
        ),
    ],
    ids=range(15),
)
def test_what_cannot_be_imported_is_named(builder, says, tmp_path):
    with pytest.raises(NetworkError, match=says):
        from_onnx(builder.save(tmp_path / "a.onnx"))


def test_two_inputs_are_refused(tmp_path):
    model = simple().model()
    model.graph.input.append(helper.make_tensor_value_info("y", FLOAT, ["N", 4]))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(NetworkError, match=r"a\.onnx has 2 inputs \(x, y\); one is possible"):
        from_onnx(tmp_path / "a.onnx")


def test_bad_files_and_samples(tmp_path):
    with pytest.raises(NetworkError, match=r"no file .*nowhere\.onnx"):
        from_onnx(tmp_path / "nowhere.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no model, only text")
    with pytest.raises(NetworkError, match=r"a\.onnx cannot be read as ONNX|holds no ONNX model"):
        from_onnx(tmp_path / "a.onnx")
    path = simple().save(tmp_path / "b.onnx")
    with pytest.raises(NetworkError, match=r"samples have shape \[3, 5\]; the model takes \[batch"):
        from_onnx(path, np.zeros((3, 5)))


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[onnx\]'"):
        from_onnx("model.onnx")
