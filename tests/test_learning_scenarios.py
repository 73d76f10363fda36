"""The scenarios: they run on the built-in digits, record what they promise, and draw it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from neuromorph.cli import main
from neuromorph.errors import LearningError
from neuromorph.learning.scenarios import SCENARIOS, Settings, draw, run_scenario
from neuromorph.learning.scenarios.common import mean_facts, order, turns
from neuromorph.workers import Workers

QUICK = {"data": "digits", "seeds": 1, "samples": 300, "passes": 1, "hidden": (32,)}


def quick(name, **changes):
    """A short run of a scenario: those of QUICK that it takes."""
    takes = ("data", *SCENARIOS[name].takes)
    return Settings(**{key: value for key, value in {**QUICK, **changes}.items() if key in takes})


def test_online_scratch_records_what_it_promises():
    result = run_scenario("online-scratch", Settings(**QUICK))
    keys = {
        "scenario", "states", "samples", "accuracy", "attempts_per_sample",
        "transitions_per_sample", "bits_per_synapse", "energy_j_per_sample",
    }  # fmt: skip
    assert keys <= set(result.record)
    assert result.record["samples"] == 300
    assert result.record["bits_per_synapse"] == 6
    assert set(result.record["energy_j_per_sample"]) == {"inference", "learning"}
    assert 0.2 < result.record["accuracy"] < 1
    json.dumps(result.record, allow_nan=False)


def test_fixed_filters_go_in_front():
    result = run_scenario("online-scratch", quick("online-scratch", filters=4, samples=100))
    assert result.record["filters"] == 4
    assert result.network.stages[0].weights.shape == (4, 1, 5, 5)
    assert 2 < result.record["bits_per_synapse"] < 6


@pytest.mark.parametrize("name", ["online-scratch", "few-shot"])
def test_samples_are_images_times_passes(name):
    record = run_scenario(name, quick(name, samples=50, passes=3)).record
    assert (record["samples"], record["images"], record["passes"]) == (150, 50, 3)


def test_every_pass_shows_the_same_images_in_another_order():
    first, second = turns(200, 30, 1, 2)
    assert sorted(first) == sorted(second)
    assert first.tolist() != second.tolist()
    whole = turns(200, 200, 1, 2)
    assert [t.tolist() for t in whole] == [order(200, 1, turn).tolist() for turn in range(2)]


def test_a_table_of_seeds_holds_their_means():
    settings = {**QUICK, "samples": 60}
    both = run_scenario("online-scratch", Settings(**{**settings, "seeds": 2})).record
    one = run_scenario("online-scratch", Settings(**settings)).record
    assert both["samples"] == one["samples"]
    assert both["attempts_per_sample"] != one["attempts_per_sample"]
    facts = [
        {"writes_max": 3, "energy": {"a": 1.0, "b": None}, "range": [1.0, 2.0], "samples": 9},
        {"writes_max": 5, "energy": {"a": 2.0, "b": None}, "range": [3.0, 5.0], "samples": 9},
    ]
    assert mean_facts(facts) == {
        "writes_max": 5, "energy": {"a": 1.5, "b": None}, "range": [2.0, 3.5], "samples": 9,
    }  # fmt: skip


def test_more_states_learn_better():
    found = [
        run_scenario("online-scratch", Settings(data="digits", seeds=1, passes=4, states=n)).record
        for n in (3, 15, 63)
    ]
    assert found[0]["accuracy"] < found[1]["accuracy"] < found[2]["accuracy"]
    assert found[2]["accuracy"] > 0.85


def invoke(*args):
    return CliRunner().invoke(main, ["learn", *map(str, args)])


def test_command_prints_a_table_and_json(tmp_path):
    quick = ("--data", "digits", "--seeds", 1, "--samples", 200, "--passes", 1)
    shown = invoke("online-scratch", *quick)
    assert shown.exit_code == 0, shown.output
    assert "test accuracy" in shown.output
    told = invoke("online-scratch", *quick, "--hidden", "16,16", "--json")
    assert json.loads(told.stdout)["hidden"] == [16, 16]


def test_a_learned_network_is_saved_and_runs(tmp_path):
    quick = ("--data", "digits", "--seeds", 1, "--samples", 300, "--passes", 1)
    path = tmp_path / "learned.safetensors"
    told = invoke("online-scratch", *quick, "--save", path, "--json")
    record = json.loads(told.stdout)
    assert record["network"] == str(path)
    run = CliRunner().invoke(main, ["run", str(path), "--json"])
    assert json.loads(run.stdout)["accuracy"] == pytest.approx(record["accuracy"])
    refused = invoke("endurance", "--data", "digits", "--samples", 50, "--save", path)
    assert refused.exit_code == 2
    assert "ends with many networks; leave out --save" in refused.stderr


def test_one_seed_is_no_mean():
    quick = ("--data", "digits", "--samples", 20, "--passes", 1, "--hidden", 8)
    one, two = (invoke("online-scratch", *quick, "--seeds", n).stdout for n in (1, 2))
    assert "one seed" in one.splitlines()[1]
    assert "±" not in one
    assert "mean of 2 seeds" in two.splitlines()[1]
    assert "±" in two


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = run_scenario("online-scratch", Settings(**QUICK))
    path = draw(result, tmp_path / "curve.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(LearningError, match="cannot write"):
        draw(result, path / "curve.png")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("walk",), "no scenario 'walk'; scenarios are online-scratch"),
        (("online-scratch", "--data", "digits", "--hidden", "a"), "--hidden is 'a'; give numbers"),
        (("online-scratch", "--data", "digits", "--states", 8), "states is 8; it must be odd"),
        (("online-scratch", "--data", "digits", "--error", "x"), "error is 'x'; choose one of bp"),
        (("online-scratch", "--data", "cifar"), "no data set 'cifar'"),
    ],
)
def test_bad_input_is_one_sentence(args, says):
    result = invoke(*args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_digits_stand_in_for_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMORPH_DATA", str(tmp_path))
    settings = Settings(**{**QUICK, "data": None, "samples": 50})
    result = run_scenario("online-scratch", settings)
    assert result.record["data"] == "digits"
    assert "digits stand in" in str(result)


def test_feedback_paths_count_their_packets():
    """Nothing travels for the read-out alone; the label alone for DRTP; B e goes out at once."""
    paths = run_scenario("feedback-paths", quick("feedback-paths")).record["paths"]
    assert len(paths) == 10
    assert paths["readout"]["error_events_per_sample"] <= 2
    assert paths["bp"]["error_events_per_sample"] > paths["readout"]["error_events_per_sample"]
    assert paths["dfa"]["accuracy"] == paths["sdfa"]["accuracy"]  # rival errors are signs


def test_drift_and_faults_take_back_what_was_lost():
    drift = run_scenario("drift", Settings(data="digits")).record["changes"]
    assert drift["rotation 90°"]["recovery_ratio"] > 0.5
    faults = run_scenario("faults", Settings(data="digits", samples=600)).record
    assert faults["faults"]["10 % stuck synapses"]["recovery_ratio"] > 0.2
    dead = faults["faults"]["a dead core"]
    assert dead["accuracy_faulted"] < dead["accuracy_before"]


@pytest.mark.parametrize(
    ("name", "group", "key"),
    [("drift", "changes", "recovery_ratio"), ("faults", "faults", "accuracy"),
     ("class-incremental", "variants", "avg_accuracy")],
)  # fmt: skip
def test_several_seeds_are_told_by_mean_and_spread(name, group, key):
    one, two = (run_scenario(name, quick(name, samples=60, hidden=(16,), seeds=n)) for n in (1, 2))
    assert (one.record["seeds"], two.record["seeds"]) == (1, 2)
    assert "±" in str(two)
    assert "±" not in str(one)
    for entry, means in two.record[group].items():
        alone = one.record[group][entry]
        assert alone[key + "_sd"] is None
        # two values: one of them, their mean, and the spread that the two must then have
        assert means[key + "_sd"] == pytest.approx(2**0.5 * abs(means[key] - alone[key]))
    assert len(two.curves) == len(one.curves)


def test_replay_remembers():
    variants = run_scenario("class-incremental", Settings(data="digits")).record["variants"]
    assert variants["no replay"]["avg_accuracy"] < 0.6
    assert variants["replay 100"]["avg_accuracy"] > 0.8
    assert variants["no replay"]["backward_transfer"] < -0.3
    matrix = np.array(variants["replay 100"]["accuracy_matrix"])
    assert matrix.shape == (5, 5)
    assert variants["replay 100"]["avg_accuracy"] == pytest.approx(matrix[-1].mean())
    assert variants["replay 50"]["replay_bytes"] == 50 * 10 * (16 + 1)


def test_few_shots_are_no_worse_than_prototypes():
    shots = run_scenario("few-shot", Settings(data="digits", seeds=2)).record["shots"]
    ten = shots["10"]
    prototype = ten["prototype read-out"]["accuracy"]
    assert ten["DST read-out"]["accuracy"] > prototype - 0.02
    accuracies = [shots[k]["DST read-out"]["new_accuracy"] for k in ("1", "10", "50")]
    assert accuracies == sorted(accuracies)


def test_endurance_counts_writes():
    states = run_scenario("endurance", quick("endurance")).record["states"]
    writes = [states[str(k)]["writes_mean"] for k in (3, 7, 15, 63)]
    assert writes == sorted(writes)


@pytest.mark.parametrize("name", SCENARIOS)
def test_results_follow_the_seed_alone(name):
    settings = quick(name, samples=120, hidden=(16,))
    one, other = (run_scenario(name, settings).record for _ in range(2))
    assert one == other
    assert np.isfinite(one["samples"])


def test_who_learns_changes_nothing():
    """Seeds are learned apart; the few shots one draw after the other in each process."""
    named = ("online-scratch", "feedback-paths", "few-shot", "drift", "faults", "class-incremental")
    for name in named:
        settings = quick(name, samples=60, hidden=(16,), seeds=2)
        if name == "feedback-paths":
            settings = replace(settings, error="drtp")
        side_by_side = replace(settings, workers=Workers(jobs=2))
        found = [run_scenario(name, s) for s in (settings, side_by_side)]
        assert found[0].record == found[1].record
        assert str(found[0]) == str(found[1])


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("drift", "hidden", (20,)), ("endurance", "seeds", 3), ("class-incremental", "error", "dfa"),
     ("feedback-paths", "passes", 2), ("few-shot", "error", "dfa"), ("endurance", "seeds", 2)],
)  # fmt: skip
def test_a_setting_that_a_scenario_lacks_is_refused(name, setting, value):
    says = f"scenario {name} has no {setting} to choose; it takes states, "
    with pytest.raises(LearningError, match=says):
        run_scenario(name, Settings(data="digits", **{setting: value}))
