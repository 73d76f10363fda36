"""NIR: the graph computes what the network does, and comes back as the same network."""

import sys

import h5py
import numpy as np
import pytest

import neuromorph as nm
from networks import random_network, random_samples, roomy, run_oracle
from neuromorph.errors import MissingDependencyError, NetworkError
from neuromorph.interop import from_nir, from_nir_events, to_nir, to_nir_events
from neuromorph.network import (
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool2d,
    Readout,
    Threshold,
    list_networks,
)

nir = pytest.importorskip("nir", reason="nir is not installed")


def example(encoding="ternary", thresholds=None, n=1):
    """A strided convolution and two linear layers, directions of both signs."""
    rng = np.random.default_rng(3)
    steps = 1 if n == 0 else 2**n
    return nm.Network(
        name="example",
        input=Input(shape=(2, 6, 6), encoding=encoding, bits=4, thresholds=thresholds),
        layers=[
            Conv2d(name="conv", weights=rng.integers(-1, 2, (4, 2, 3, 3)), stride=2, padding=1),
            Threshold(
                thresholds=np.sort(rng.integers(-3, 4, (4, steps))),
                directions=rng.choice([-1, 1], 4),
                n=n,
            ),
            Flatten(),
            Linear(name="hidden", weights=rng.integers(-1, 2, (12, 36))),
            Threshold(
                thresholds=np.sort(rng.integers(-3, 4, (12, 2))), directions=rng.choice([-1, 1], 12)
            ),
            Linear(name="output", weights=rng.integers(-1, 2, (5, 12))),
            Readout(scale=rng.normal(size=5), offset=rng.normal(size=5)),
        ],
    )


def evaluate(graph, sample):
    """A NIR graph on one sample by its definition alone, in float64; output of every node."""
    before = {name: [] for name in graph.nodes}
    for a, b in graph.edges:
        before[b].append(a)
    done = {}

    def value(name):
        if name not in done:
            node = graph.nodes[name]
            x = sample if not before[name] else sum(value(b) for b in before[name])
            done[name] = compute(node, np.asarray(x, np.float64))
        return done[name]

    return value(next(n for n, v in graph.nodes.items() if isinstance(v, nir.Output)))


def compute(node, x):
    if isinstance(node, (nir.Input, nir.Output)):
        return x
    if isinstance(node, nir.Linear):
        return node.weight.astype(np.float64) @ x
    if isinstance(node, nir.Affine):
        return node.weight.astype(np.float64) @ x + node.bias
    if isinstance(node, nir.Scale):
        return node.scale * x
    if isinstance(node, nir.Threshold):
        return (x > node.threshold).astype(np.float64)
    if isinstance(node, nir.SumPool2d):
        assert not np.any(node.padding)
        seen = np.lib.stride_tricks.sliding_window_view(x, node.kernel_size, axis=(1, 2))
        return seen[:, :: node.stride[0], :: node.stride[1]].sum(axis=(3, 4))
    if isinstance(node, nir.Flatten):
        return x.ravel()
    assert isinstance(node, nir.Conv2d)
    (py, px), (sy, sx) = node.padding, node.stride
    x = np.pad(x, ((0, 0), (py, py), (px, px)))
    seen = np.lib.stride_tricks.sliding_window_view(x, node.weight.shape[2:], axis=(1, 2))
    return np.einsum("cyxkl,ockl->oyx", seen[:, ::sy, ::sx], node.weight.astype(np.float64))


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize(
    ("encoding", "thresholds"), [("ternary", None), ("ternary", (-2, 3)), ("graded", None)]
)
def test_the_graph_computes_the_scores(encoding, thresholds, n):
    network = example(encoding, thresholds, n)
    raw = random_samples(network, np.random.default_rng(0), 20)
    graph = to_nir(network)
    scores = network.scores(run_oracle(network, raw)[-1].sums.astype(np.int32))
    assert np.allclose([evaluate(graph, sample) for sample in raw], scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("order", ["sums", "levels"])
def test_a_pool_is_any_or_all_of_its_window(order, n):
    """Of sums (the least level where the direction is negative) and of levels."""
    network = pooled(order, n)
    raw = random_samples(network, np.random.default_rng(0), 20)
    graph = to_nir(network)
    assert {type(node).__name__ for node in graph.nodes.values()} >= {"SumPool2d", "Threshold"}
    sums = run_oracle(network, raw)[-1].sums
    assert np.array_equal([evaluate(graph, sample) for sample in raw], sums)
    assert from_nir(graph) == network


def pooled(order, n=1):
    rng = np.random.default_rng(7)
    threshold = Threshold(
        thresholds=np.sort(rng.integers(-3, 4, (6, 1 if n == 0 else 2**n))),
        directions=[1, -1, 1, -1, 1, -1],
        n=n,
    )
    pool = MaxPool2d(size=(2, 3), stride=(2, 1))
    return nm.Network(
        name="pooled",
        input=Input(shape=(2, 6, 7)),
        layers=[
            Conv2d(name="conv", weights=rng.integers(-1, 2, (6, 2, 3, 3)), padding=1),
            *([pool, threshold] if order == "sums" else [threshold, pool]),
            Flatten(),
            Linear(name="output", weights=rng.integers(-1, 2, (4, 90))),
            Readout(),
        ],
    )


def test_weights_are_int8_and_primitives_are_standard():
    graph = to_nir(example())
    assert {type(node).__name__ for node in graph.nodes.values()} <= {
        "Input", "Conv2d", "Linear", "Affine", "Scale", "Threshold", "Flatten", "Output"
    }  # fmt: skip
    assert graph.nodes["conv"].weight.dtype == np.int8


def test_round_trip_through_a_file_on_1000_samples(tmp_path):
    network = example(thresholds=(-2, 3))
    to_nir(network, tmp_path / "net.nir")
    back = from_nir(tmp_path / "net.nir")
    assert back == network
    assert back.name == "net"
    same_on_1000_samples(network, back)


@pytest.mark.parametrize("name", list_networks())
def test_shipped_networks_come_back_the_same(name, tmp_path):
    network = nm.load_network(name)
    i = network.input
    if network.pixels:
        with pytest.raises(NetworkError, match="NIR export takes plain sequences of layers only"):
            to_nir(network)
        return
    if any(s.rounding for s in network.stages):
        with pytest.raises(NetworkError, match="NIR export takes layers with thresholds only"):
            to_nir(network)
        return
    if any(s.levels and s.levels.n > 4 for s in network.stages):
        with pytest.raises(NetworkError, match="has 257 levels; as NIR thresholds at most 17"):
            to_nir(network)
        return
    to_nir(network, tmp_path / "net.nir")
    back = from_nir(tmp_path / "net.nir", bits=None if i.encoding == "ternary" else i.bits)
    assert back == network
    same_on_1000_samples(network, back)


def same_on_1000_samples(network, back):
    raw = random_samples(network, np.random.default_rng(1), 1000)
    chip = roomy(nm.load_chip("gxnor45"))
    ours, theirs = (nm.simulate(nm.map_network(x, chip), raw) for x in (network, back))
    assert np.array_equal(ours.outputs, theirs.outputs)
    assert np.array_equal(ours.predictions, theirs.predictions)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_come_back_the_same(seed, tmp_path):
    network = random_network(seed)
    i = network.input
    said = ""
    try:
        to_nir(network, tmp_path / "a.nir")
    except NetworkError as error:
        said = str(error)
    if "levels; as NIR" in said:
        assert any(s.levels and s.levels.n > 4 for s in network.stages)
        return
    if "reckons with" in said or "into an image" in said:
        sides = [pair for s in network.stages for pair in (s.weights.shape[2:], s.stride)]
        assert any(a != b for a, b in sides)
        return
    assert not said
    back = from_nir(tmp_path / "a.nir", bits=None if i.encoding == "ternary" else i.bits)
    raw = random_samples(network, np.random.default_rng(seed), 6)
    for ours, theirs in zip(run_oracle(network, raw), run_oracle(back, raw), strict=True):
        assert np.array_equal(ours.sums, theirs.sums), ours.name


def test_a_plain_spiking_graph_of_others_is_read():
    """One-sided thresholds and biases, as other tools write them."""
    graph = nir.NIRGraph.from_list(
        nir.Input(input_type=np.array([3])),
        nir.Affine(weight=np.array([[1, -1, 0], [2, 1, 1]]), bias=np.array([0.5, -1.0])),
        nir.Threshold(threshold=np.array([0.5, 1.0])),
        nir.Linear(weight=np.array([[1, -1], [0, 1]])),
        nir.Output(output_type=np.array([2])),
    )
    network = from_nir(graph)
    raw = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    fired = (raw @ np.array([[1, -1, 0], [2, 1, 1]]).T + [0.5, -1.0]) > [0.5, 1.0]
    layers = run_oracle(network, raw)
    assert np.array_equal(layers[0].levels, fired.astype(int))
    assert np.array_equal(layers[1].sums, fired @ np.array([[1, -1], [0, 1]]).T)


def test_events_both_ways(tmp_path):
    levels = np.random.default_rng(0).integers(-1, 2, (30, 7))
    data = nir.NIRGraphData(
        {"hidden": nir.NIRNodeData({"spikes": to_nir_events(levels, dt_s=1e-3)})}
    )
    nir.write_data(tmp_path / "data.h5", data)
    read = nir.read_data(tmp_path / "data.h5").nodes["hidden"].observables["spikes"]
    assert np.array_equal(from_nir_events(read, dt_s=1e-3), levels[None])


# --- what is refused


def graph_of(*nodes):
    return nir.NIRGraph.from_list(
        nir.Input(input_type=np.array([2])), *nodes, nir.Output(output_type=np.array([2]))
    )


def line(weight=((1, 0), (0, 1))):
    return nir.Linear(weight=np.array(weight))


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (lambda: graph_of(line(), nir.LI(tau=np.ones(2), r=np.ones(2), v_leak=np.zeros(2))),
         "is a LI; supported are Input, Linear"),
        (lambda: graph_of(line(((0.5, 0), (0, 1)))), "has weights that are no integers from"),
        (lambda: graph_of(line(), line()), "'linear_1' follows synapses without a threshold"),
        (lambda: graph_of(line(), nir.Threshold(np.zeros(2)), nir.Scale(np.array([0.5, 1.0])),
                          line()), "have levels that are no integers"),
    ],
    ids=range(4),
)  # fmt: skip
def test_what_cannot_be_imported_is_named(graph, says):
    with pytest.raises(NetworkError, match=says):
        from_nir(graph())


def graph(nodes, *edges):
    """A graph by the names of its nodes, with "in" and "out" around them."""
    ends = {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))}
    return nir.NIRGraph(nodes={**ends, **nodes}, edges=list(edges), type_check=False)


def step(*at):
    return nir.Threshold(np.array(at, float))


@pytest.mark.parametrize(
    ("nodes", "edges", "says"),
    [
        ({"other": nir.Input(np.array([2])), "a": line()},
         [("in", "a"), ("other", "a"), ("a", "out")], "the NIR graph has 2 inputs; one is"),
        ({"a": line(), "b": line()}, [("in", "a"), ("in", "b"), ("a", "out"), ("b", "out")],
         "NIR node 'in' goes to 2 nodes; a chain has one"),
        ({"a": nir.Scale(np.ones(2))}, [("in", "a"), ("a", "out")],
         "NIR node 'a' is a Scale where synapses should stand"),
        ({"a": nir.Conv2d(None, np.ones((2, 1, 1, 1)), 1, 0, 1, 2, np.zeros(2))},
         [("in", "a"), ("a", "out")], "NIR node 'a' has groups; not possible"),
        ({"a": line(), "t": step(0, 0), "u": step(1, 1), "b": line(), "c": line()},
         [("in", "a"), ("a", "t"), ("a", "u"), ("t", "b"), ("u", "c"), ("b", "out"), ("c", "out")],
         "the branches behind NIR node 'a' do not meet in one node"),
        ({"a": line(), "t": step(0, 0), "s": nir.Scale(np.ones(2)), "b": line()},
         [("in", "a"), ("a", "t"), ("a", "s"), ("t", "b"), ("s", "b"), ("b", "out")],
         "a branch before NIR node 'b' has no threshold"),
        ({"t": step(0, 1), "a": line()}, [("in", "t"), ("t", "a"), ("a", "out")],
         "the NIR graph thresholds its input in more than two common thresholds"),
        ({"a": line(), "s": nir.Scale(np.zeros(2)), "t": step(0, 0), "b": line()},
         [("in", "a"), ("a", "s"), ("s", "t"), ("t", "b"), ("b", "out")],
         "NIR node 'a': a Scale of zero before a threshold"),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_graph_that_is_no_chain_of_layers_is_named(nodes, edges, says):
    with pytest.raises(NetworkError, match=says):
        from_nir(graph(nodes, *edges))


def counted(size=2, padding=0, at=0.5):
    """A pool of steps and what its counts are compared with."""
    pool = nir.SumPool2d(np.full(2, size), np.full(2, size), np.full(2, padding))
    return pool, nir.Threshold(np.full((1, 2, 2), at))


def image(nodes, *edges):
    ends = {"in": nir.Input(np.array([1, 4, 4])), "out": nir.Output(np.array([2]))}
    ends["a"] = nir.Conv2d((4, 4), np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1))
    ends["t"], ends["u"] = nir.Threshold(np.zeros((1, 4, 4))), nir.Threshold(np.ones((1, 4, 4)))
    ends["f"] = nir.Flatten({"input": np.array([1, 2, 2])}, start_dim=0)
    ends["b"] = nir.Linear(np.ones((2, 4)))
    edges = [("in", "a"), ("a", "t"), ("f", "b"), ("b", "out"), *edges]
    return nir.NIRGraph(nodes={**ends, **nodes}, edges=edges, type_check=False)


@pytest.mark.parametrize(
    ("nodes", "edges", "says"),
    [
        ({"p": counted()[0]}, [("t", "p"), ("p", "f")],
         "NIR node 'f' takes the sums of a pool; only counts against a threshold, any or all"),
        ({"p": counted()[0], "q": counted(at=1.5)[1]}, [("t", "p"), ("p", "q"), ("q", "f")],
         "the pool behind NIR node 'a' is no max-pool of levels or of sums: its steps are counted "
         "against other thresholds than any or all of 4"),
        ({"p": counted(padding=1)[0], "q": counted()[1]}, [("t", "p"), ("p", "q"), ("q", "f")],
         "the pool behind NIR node 'a' has padding; not possible"),
        ({"p": counted()[0], "q": counted()[1]},
         [("t", "p"), ("p", "q"), ("q", "f"), ("a", "u"), ("u", "f")],
         "the branches behind NIR node 'a' do not pass the same pool"),
        ({"p": counted()[0], "q": counted()[1], "s": nir.Scale(np.full((1, 4, 4), 2.0))},
         [("t", "s"), ("s", "p"), ("p", "q"), ("q", "f")],
         "NIR node 'p' pools what are no steps of 0 and 1"),
    ],
    ids=range(5),
)  # fmt: skip
def test_a_pool_that_is_no_max_pool_is_named(nodes, edges, says):
    with pytest.raises(NetworkError, match=says):
        from_nir(image(nodes, *edges))


def test_a_pool_before_the_first_layer_is_refused():
    ends = {"in": nir.Input(np.array([1, 4, 4])), "out": nir.Output(np.array([2]))}
    pool, any_of = counted()
    minus = nir.Scale(np.full((1, 2, 2), -1.0))
    nodes = {"t": nir.Threshold(np.zeros((1, 4, 4))), "p": pool, "q": any_of, "s": minus}
    edges = [("in", "t"), ("t", "p"), ("p", "q"), ("q", "s"), ("s", "out")]
    graph = nir.NIRGraph(nodes={**ends, **nodes}, edges=edges, type_check=False)
    with pytest.raises(NetworkError, match="the NIR graph pools its input; a pool follows a"):
        from_nir(graph)


def test_a_vector_that_becomes_an_image_is_refused():
    network = nm.Network(
        name="grows",
        input=Input(shape=(2,)),
        layers=[
            Linear(name="a", weights=np.ones((2, 2), int)),
            Threshold(thresholds=[[0, 1]] * 2),
            Conv2d(name="b", weights=np.ones((1, 2, 2, 2), int), padding=1),
            Threshold(thresholds=[[0, 1]]),
            Flatten(),
            Linear(name="c", weights=np.ones((2, 4), int)),
            Readout(),
        ],
    )
    with pytest.raises(NetworkError, match="layer 'b' convolves a vector into an image; NIR"):
        to_nir(network)


def test_what_nir_cannot_say_is_refused():
    eight = nm.Network(
        name="eight",
        input=Input(shape=(2,)),
        layers=[
            Linear(name="a", weights=np.eye(2, dtype=int)),
            Threshold(thresholds=np.arange(512).reshape(2, 256), n=8),
            Linear(name="b", weights=np.eye(2, dtype=int)),
            Readout(),
        ],
    )
    with pytest.raises(NetworkError, match="layer 'a' has 257 levels; as NIR thresholds at most"):
        to_nir(eight)
    wide = nm.Network(
        name="wide",
        input=Input(shape=(1, 4, 6)),
        layers=[
            Conv2d(name="a", weights=np.ones((2, 1, 1, 3), int)),
            Threshold(thresholds=[[0, 1]] * 2),
            Flatten(),
            Linear(name="b", weights=np.ones((2, 32), int)),
            Readout(),
        ],
    )
    with pytest.raises(NetworkError, match=r"gives \[2, 4, 4\], but NIR reckons with"):
        to_nir(wide)
    with pytest.raises(NetworkError, match="network is a str, not a Network"):
        to_nir("digits-gxnor")


def test_bad_files_and_events(tmp_path):
    with pytest.raises(NetworkError, match=r"no file .*nowhere\.nir"):
        from_nir(tmp_path / "nowhere.nir")
    (tmp_path / "a.nir").write_bytes(b"no graph, only text")
    with pytest.raises(NetworkError, match=r"a\.nir cannot be read as NIR"):
        from_nir(tmp_path / "a.nir")
    with h5py.File(tmp_path / "b.nir", "w") as file:
        file["node"] = h5py.ExternalLink("other.h5", "/node")
    with pytest.raises(NetworkError, match="is a soft or external link"):
        from_nir(tmp_path / "b.nir")
    with pytest.raises(NetworkError, match=r"levels are float64 of shape \[3\]; need integers"):
        to_nir_events(np.zeros(3))
    events = to_nir_events(np.ones((4, 2), int))
    with pytest.raises(NetworkError, match="or times or neurons outside the recording"):
        from_nir_events(events, dt_s=10.0)


def test_without_nir_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[nir\]'"):
        to_nir(example())


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_reaches_as_far_as_a_dilated_kernel(dilation):
    rng = np.random.default_rng(dilation)
    weights = rng.integers(-1, 2, (2, 1, 3, 3)).astype(np.float64)
    nodes = {
        "in": nir.Input(np.array([1, 7, 7])),
        "a": nir.Conv2d((7, 7), weights, 1, "same", dilation, 1, np.zeros(2)),
        "t": nir.Threshold(np.full((2, 7, 7), 0.5)),
        "f": nir.Flatten({"input": np.array([2, 7, 7])}, start_dim=0),
        "b": nir.Linear(np.ones((2, 98))),
        "out": nir.Output(np.array([2])),
    }
    edges = [("in", "a"), ("a", "t"), ("t", "f"), ("f", "b"), ("b", "out")]
    stage = from_nir(nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)).stages[0]
    assert (stage.padding, stage.output_shape) == ((dilation, dilation), (2, 7, 7))


def test_same_padding_that_is_not_the_same_on_both_sides_is_refused():
    even = nir.Conv2d((4, 4), np.ones((1, 1, 2, 2)), 1, "same", 1, 1, np.zeros(1))
    with pytest.raises(NetworkError, match="NIR node 'a' pads by itself; give it numbers"):
        from_nir(image({"a": even}, ("t", "f")))
