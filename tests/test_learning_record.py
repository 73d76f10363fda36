"""Learning records: what a run was, and a file that breaks one thing for every rule L1 to L10."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import neuromorph as nm
from neuromorph.cli import main
from neuromorph.data import load_data
from neuromorph.errors import TraceError, TraceVersionError
from neuromorph.learning import (
    LearningTrace,
    Plastic,
    Rule,
    fresh,
    is_learning,
    learn,
    map_for,
    validate_learning,
)
from neuromorph.network import Input
from neuromorph.reference.learning import Learner

RULE = Rule(states=15, margin=8, rate=0.1)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "trace-format.md"
KEPT = Path(__file__).parent / "data" / "learning-1.0.h5"
DATA = load_data("digits")
STREAM = DATA.train_images[:40], DATA.train_labels[:40]


def begin():
    entry = Input(shape=(1, 8, 8), encoding="ternary", thresholds=(5, 11))
    state = fresh(entry, (12, 9), 10, RULE)
    return state, map_for(state.network("small"), nm.load_chip("gxnor45"), RULE)


def by_reference(state, samples=40):
    """Transitions of the NumPy learner."""
    inputs = state.network("small").encode(STREAM[0][:samples])
    layers = len(state.layers)
    learner = Learner(state.copy(), RULE, [np.zeros(p.stage.neurons, int) for p in state.layers])
    tables = [RULE.table(0, i, layers) for i in range(layers)]
    return learner.run(inputs, STREAM[1][:samples], tables, moves=True).moves


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(path, what was learned, states before)."""
    state, mapping = begin()
    path = tmp_path_factory.mktemp("learning") / "learn.h5"
    learned = learn(mapping, STREAM, rule=RULE, state=state, trace=path)
    return path, learned, state


@pytest.fixture
def copy(recorded, tmp_path):
    path = tmp_path / "copy.h5"
    path.write_bytes(bytes(512) + recorded[0].read_bytes()[512:])  # without its seal
    return path


def test_a_record_gives_back_what_was_learned(recorded):
    path, learned, state = recorded
    with LearningTrace(path) as record:
        moves = record.moves()
        assert sorted(moves.tolist()) == sorted(by_reference(state).tolist())
        assert len(moves) == record.move_count == learned.learning.total("dst_transition") > 100
        for name in ("predictions", "labels"):
            assert np.array_equal(getattr(record, name), getattr(learned, name))
        for name in ("inference", "learning"):
            mine, theirs = getattr(record, name), getattr(learned, name)
            assert np.array_equal(mine.values, theirs.values)
            assert (mine.actions, mine.layers) == (theirs.actions, theirs.layers)
        assert (record.rule, record.accuracy, record.first) == (RULE, learned.accuracy, 0)
        flat = [
            np.concatenate([p.states.ravel() for p in s.layers]) for s in (state, learned.state)
        ]
        assert np.array_equal(record.before, flat[0])
        assert np.array_equal(record.after, flat[1])
        assert record.network_info.hash == learned.mapping.network.hash
        prices = nm.load_prices("horowitz45")
        for name in ("inference", "learning"):
            again = nm.estimate_energy(getattr(record, name), prices)
            assert again.to_dict() == nm.estimate_energy(getattr(learned, name), prices).to_dict()
    assert validate_learning(path) == []
    assert not list(path.parent.glob("*.partial"))


def test_recording_changes_nothing_and_two_records_differ_in_time_alone(recorded, tmp_path):
    path, learned, state = recorded
    learn(learned.mapping, STREAM, rule=RULE, state=state, trace=tmp_path / "b.h5")
    silent = learn(learned.mapping, STREAM, rule=RULE, state=state)
    assert np.array_equal(silent.predictions, learned.predictions)
    with LearningTrace(path) as one, LearningTrace(tmp_path / "b.h5") as other:
        assert one.moves().tolist() == other.moves().tolist()


def test_a_record_goes_on_from_a_state(recorded, tmp_path):
    _, learned, _ = recorded
    learn(learned.mapping, STREAM, rule=RULE, state=learned.state, trace=tmp_path / "b.h5")
    assert validate_learning(tmp_path / "b.h5") == []
    with LearningTrace(tmp_path / "b.h5") as record:
        assert record.first == 40
        assert int(record.moves()["step"][0]) > 40


def test_states_of_a_network_trained_elsewhere(tmp_path):
    network = nm.load_network("digits-gxnor")
    rule = Rule(states=15, error="readout", centring="frozen", margin=20, rate=0.1)
    learn(map_for(network, nm.load_chip("gxnor45"), rule), STREAM, rule=rule, trace=tmp_path / "c")
    with LearningTrace(tmp_path / "c") as record:
        first = Plastic.of(network, rule)
        assert np.array_equal(
            record.before, np.concatenate([p.states.ravel() for p in first.layers])
        )
    assert validate_learning(tmp_path / "c") == []


def test_commands(recorded):
    path, learned, _ = recorded
    answer = CliRunner().invoke(main, ["trace", "info", str(path), "--json"])
    facts, moved = json.loads(answer.stdout), learned.learning.total("dst_transition")
    assert (facts["samples"], facts["transitions"]) == (40, moved)
    text = CliRunner().invoke(main, ["trace", "info", str(path)]).stdout
    assert "transitions" in text
    assert "15 states" in text
    answer = CliRunner().invoke(main, ["trace", "validate", str(path)])
    assert (answer.exit_code, answer.stdout) == (0, f"{path} is valid\n")


def test_a_record_is_priced_again(recorded):
    path, learned, _ = recorded
    answer = CliRunner().invoke(main, ["energy", "reprice", str(path), "--json"])
    found, prices = json.loads(answer.stdout), nm.load_prices("horowitz45")
    for name in ("inference", "learning"):
        assert found[name] == nm.estimate_energy(getattr(learned, name), prices).to_dict()
    text = CliRunner().invoke(main, ["energy", "reprice", str(path)]).stdout
    assert text.startswith("inference\n")
    assert "\nlearning\n" in text
    refused = CliRunner().invoke(main, ["energy", "reprice", str(path), "--csv", "x.csv"])
    assert refused.exit_code == 2
    assert "a learning record has two reports; leave out --csv and --plot" in refused.stderr


def test_a_file_of_version_1_0_is_read():
    """Made by ``learn`` with RULE on the first eight digits, from ``begin()``."""
    assert validate_learning(KEPT) == []
    with LearningTrace(KEPT) as record:
        assert (record.version, len(record), record.rule) == ("1.0", 8, RULE)
        assert sorted(record.moves().tolist()) == sorted(by_reference(begin()[0], 8).tolist())


def test_a_broken_record_is_said_by_the_command(copy):
    with h5py.File(copy, "r+") as file:
        file["samples/label"][0] = 10
    answer = CliRunner().invoke(main, ["trace", "validate", str(copy)])
    assert answer.exit_code == 1
    assert "rule L5: /samples/label has one that is no class of 10" in answer.stdout


def text(owner, name, value):
    data = value.encode()
    owner.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def put(name, index, value):
    return lambda file: file[name].__setitem__(index, value)


def attr(name, value):
    def change(file):
        del file.attrs[name]
        text(file, name, value) if isinstance(value, str) else file.attrs.create(name, value)

    return change


def option(**changes):
    def change(file):
        text(file["meta"], "options", json.dumps({"rule": {"states": 15, **changes}}))

    return change


def gone(name):
    return lambda file: file.__delitem__(name)


def swap(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def unknown_action(file):
    names = file["counts/learning_actions"][:]
    names[0] = b"cheese"
    file["counts/learning_actions"][:] = names


def named_twice(file):
    names = file["counts/learning_actions"][:]
    names[0] = names[1]
    file["counts/learning_actions"][:] = names


def one_more_event(file):
    actions = [a.decode() for a in file["counts/inference_actions"]]
    table = file["counts/inference"]
    table[1, actions.index("xnor_event")] += 1


def one_more_transition(file):
    actions = [a.decode() for a in file["counts/learning_actions"]]
    table = file["counts/learning"]
    table[1, actions.index("dst_transition")] += 1


def last_state(file):
    data = file["states/after"]
    data[0] = 1 if data[0] == 0 else 0


def unsorted(file):
    data = file["moves/step"]
    data[0] = 40


BROKEN = [
    ("L1", "is not a neuromorph-learning file", attr("format", "cheese")),
    ("L1", "attribute 'first' is -1; it counts samples", attr("first", np.int64(-1))),
    ("L1", "attribute 'first' of / is missing", lambda f: f.attrs.__delitem__("first")),
    ("L1", "the run did not finish, so this is no whole record", attr("complete", np.bool_(False))),
    ("L2", "'rule' of /meta options is malformed: .*states is 14", option(states=14)),
    ("L2", "'rule' of /meta options is malformed", lambda f: text(f["meta"], "options", "{}")),
    ("L2", "group /meta is missing", gone("meta")),
    ("L3", "/counts/learning: counts hold a negative tally", put("counts/learning", (1, 0), -1)),
    ("L3", "/counts/layers does not name", swap("counts/layers", np.array([b"input"]))),
    ("L3", "counts the action 'cheese', which this program does not know", unknown_action),
    ("L3", "/counts/learning_actions names an action twice", named_twice),
    ("L3", "/counts/inference: counts of sample 0, layer .* do not add up", one_more_event),
    ("L4", "/samples/prediction has shape", swap("samples/prediction", np.zeros(3, "<i8"))),
    ("L4", "dataset /moves/after is missing", gone("moves/after")),
    ("L4", "/moves/layer is int64; it must be uint16", swap("moves/layer", np.zeros(3, "<i8"))),
    ("L4", "/states/after has shape", swap("states/after", np.zeros(3, "<i1"))),
    ("L4", "/states/synapses has a layer without", put("states/synapses", 0, 0)),
    ("L5", "/samples/prediction has one that is no class", put("samples/prediction", 3, -1)),
    ("L6", "the attributes of /counts are not those of the chip",
     lambda f: f["counts"].attrs.modify("cores_used", np.int64(99))),
    ("L6", "are not the rows of /mapping", put("counts/cores", 1, 7)),
    ("L7", "/states has a state beyond the 15 of the rule", put("states/before", 0, 8)),
    ("L8", "/moves is not sorted by step, or has a step that is no sample", unsorted),
    ("L8", "/moves is not sorted by step, or", put("moves/step", -1, 41)),
    ("L8", "/moves has a layer or a synapse that is not there", put("moves/layer", 0, 3)),
    ("L8", "/moves has a layer or a synapse that is", put("moves/synapse", 0, 1 << 30)),
    ("L9", "/moves has one from a state its synapse is not in", put("moves/before", 0, 9)),
    ("L9", "/moves does not lead from /states/before to /states/after", last_state),
    ("L10", "/moves has .* of layer .*, /counts/learning says", one_more_transition),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "sentence", "change"), BROKEN)
def test_a_broken_rule_gives_its_sentence(rule, sentence, change, copy):
    with h5py.File(copy, "r+") as file:
        change(file)
    (problem, *_) = validate_learning(copy)
    assert re.search(sentence, problem), problem
    if int(rule[1:]) >= 5:
        assert problem.startswith(f"rule {rule}: ")
        LearningTrace(copy).close()
    else:
        with pytest.raises(TraceError, match=sentence):
            LearningTrace(copy)


def test_the_document_lists_these_rules():
    listed = re.findall(r"^\* \*\*(L\d+)\*\* ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == list(dict.fromkeys(rule for rule, _, _ in BROKEN))


def test_another_version_is_refused_with_the_range(copy):
    with h5py.File(copy, "r+") as file:
        attr("version", "2.0")(file)
    with pytest.raises(TraceVersionError, match=r"version is '2\.0'; this program reads 1\.0 to"):
        LearningTrace(copy)


def test_a_newer_minor_version_and_what_we_do_not_know_are_read(copy):
    with h5py.File(copy, "r+") as file:
        attr("version", "1.7")(file)
        file["moves/why"] = np.zeros(3)
        file["notes"] = "hello"
    assert validate_learning(copy) == []


def test_damage_is_found_before_hdf5_sees_it(recorded, tmp_path):
    data = bytearray(recorded[0].read_bytes())
    data[2000] ^= 1
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(TraceError, match="does not match its SHA-256"):
        LearningTrace(tmp_path / "x.h5")


def test_a_file_that_cannot_be_written_leaves_none(tmp_path):
    state, mapping = begin()
    (tmp_path / "file").touch()
    for path, says in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "x.h5", "Not a directory|File exists"),
    ):
        with pytest.raises(TraceError, match=f"cannot write learning record .*: ({says})"):
            learn(mapping, STREAM, rule=RULE, state=state, trace=path)
    with pytest.raises(TraceError, match="learning record is 3; give a name or a path"):
        learn(mapping, STREAM, rule=RULE, state=state, trace=3)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_run_that_fails_leaves_none(tmp_path, monkeypatch):
    state, mapping = begin()

    def stream():
        yield STREAM
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        learn(mapping, stream(), rule=RULE, state=state, trace=tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_trace_and_a_record_are_told_apart(recorded, tmp_path):
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    nm.simulate(mapping, DATA.test_images[:2], trace=tmp_path / "run.h5")
    assert (is_learning(recorded[0]), is_learning(tmp_path / "run.h5")) == (True, False)
    with pytest.raises(TraceError, match="is a learning record, not the trace of a run"):
        nm.Trace(recorded[0])
    with LearningTrace(recorded[0]) as record:
        pass
    with pytest.raises(TraceError, match="this learning record is closed"):
        next(record.blocks())


# --- the command


def test_the_command_records_the_last_seed(tmp_path):
    path, network = tmp_path / "learn.h5", tmp_path / "net.safetensors"
    told = ["--samples", "60", "--passes", "2", "--hidden", "9", "--seeds", "2", "--data", "digits"]
    command = ["learn", "online-scratch", *told, "--trace", path, "--save", network, "--json"]
    done = CliRunner().invoke(main, [str(part) for part in command])
    assert done.exit_code == 0, done.output
    record = json.loads(done.output)
    assert record["trace"] == str(path)
    assert validate_learning(path) == []
    saved = nm.load_network(network)
    with LearningTrace(path) as trace:
        assert (len(trace), trace.rule.seed, trace.first) == (120, 1, 0)
        assert trace.inference.inferences == trace.learning.inferences == 120
        edge = trace.rule.rest
        read = np.sign(trace.after) * (np.abs(trace.after.astype(int)) > edge)
        weights = [s.weights for s in saved.stages]
        assert sum(w.size for w in weights) == len(read)
        assert sum(int((w != 0).sum()) for w in weights) == int((read != 0).sum())
    done = CliRunner().invoke(main, ["report", str(path)])
    assert done.exit_code != 0
    assert "is a learning record, not the trace of a run; trace info, trace" in done.output
    done = CliRunner().invoke(main, ["learn", "drift", "--data", "digits", "--trace", str(path)])
    assert "scenario drift has no trace to choose" in done.output
