"""The page about a trace: what it says against the trace and the engines, and what it may do.

Looks are judged by eye.  Checked are the numbers behind the charts (links
against the hops the engine counted, spikes and events against the counts,
times against the latency), that the page is whole, that it can load nothing
and run nothing, and that a real browser draws it without a complaint.
"""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
from contextlib import suppress

import numpy as np
import pytest

import neuromorph as nm
from neuromorph.data import load_data
from neuromorph.errors import SimulationError
from neuromorph.kernels import timed
from neuromorph.network import Input, Linear, Network, Readout, Threshold
from neuromorph.report import gather, write_report
from neuromorph.report.charts import Layer, latency_chart, raster_chart
from neuromorph.report.gather import (
    FAINTEST,
    Raster,
    gather_raster,
    gather_traffic,
    link_loads,
)
from neuromorph.trace import Recorder, Trace

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "rect", "line", "path"}


class Page(html.parser.HTMLParser):
    """Tags, texts and attributes of a page; refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.attributes, self.open = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.words.append(" ".join(data.split()))


def page_of(path, out, prices="horowitz45"):
    """(page, its text) of a trace."""
    with Trace(path) as trace:
        written = write_report(trace, out, prices=prices and nm.load_prices(prices))
    text = written.read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def mapping():
    """digits-gxnor on small cores, four a tile: every kind of hop."""
    chip = dataclasses.replace(nm.load_chip("gxnor45"), neurons=200, cores_per_tile=4)
    return nm.map_network(nm.load_network("digits-gxnor"), chip)


@pytest.fixture(scope="module")
def traces(mapping, tmp_path_factory):
    """Paths of traces by (mode, detail), and of an unfinished one."""
    folder, data = tmp_path_factory.mktemp("traces"), load_data("digits")
    found = {}
    for mode, detail in (
        ("timed", "packets"), ("timed", "spikes"), ("timed", "counts"),
        ("count", "spikes"), ("count", "counts"),
    ):  # fmt: skip
        path = folder / f"{mode}-{detail}.h5"
        nm.simulate(
            mapping, data.test_images[:6], mode=mode, labels=data.test_labels[:6],
            trace=path, detail=detail,
        )  # fmt: skip
        found[mode, detail] = path
    recorder = Recorder(folder / "stopped.h5", mapping, detail="packets", mode="timed")
    with suppress(KeyboardInterrupt), recorder:
        encoded = mapping.network.encode(data.test_images[:3])
        timed.timed(mapping, encoded, sink=recorder.packets)
        raise KeyboardInterrupt
    found["unfinished"] = folder / "stopped.h5.partial"
    return found


# --- numbers behind the charts


def test_links_carry_what_the_engine_counted(traces):
    with Trace(traces["timed", "packets"]) as trace:
        traffic = gather_traffic(trace)
        loads = link_loads(trace, traffic)
        assert sum(traffic.packets.values()) == trace.packet_count
        along_x = sum(n for (x, _, to_x, _), n in loads.items() if x != to_x)
        along_y = sum(n for (_, y, _, to_y), n in loads.items() if y != to_y)
        assert (along_x, along_y) == (trace.counts.total("hop_x"), trace.counts.total("hop_y"))
        assert along_x
        assert along_y
        assert all(abs(a - c) + abs(b - d) == 1 for a, b, c, d in loads)


def test_packets_by_core_are_those_counted(traces):
    with Trace(traces["timed", "packets"]) as trace:
        counts, packets = trace.counts, gather_traffic(trace).packets
        for row in range(len(counts.cores)):
            sent = sum(n for (source, _), n in packets.items() if source == row)
            assert sent == (counts["packet_out"] + counts["token_out"])[:, row].sum()
            got = sum(n for (_, target), n in packets.items() if target == row)
            assert got == (counts["spike_in"] + counts["token_in"])[:, row].sum()


def test_parts_of_the_latency_add_up(traces):
    with Trace(traces["timed", "packets"]) as trace:
        layers = [Layer(name=info.name, fill="#000") for info in trace.network_info.layers]
        chart = latency_chart(trace, gather_traffic(trace).arrived, layers)
        means = {a["name"]: a["mean"] for a in chart["areas"]}
        assert list(means) == ["input is sent", "conv1", "conv2", "fc3", "output"]
        assert min(means.values()) > 0
        assert sum(means.values()) == pytest.approx(trace.latency_s * 1e6, rel=1e-12)
        # by the definition, sample by sample
        packets, stages = trace.packets(), np.array([0, *(s.stage for s in trace.slices)])
        last = [
            max(packets["delivered"][(packets["sample"] == s) & (stages[packets["target"]] == 1)])
            - max(packets["delivered"][(packets["sample"] == s) & (stages[packets["target"]] == 0)])
            for s in range(6)
        ]
        assert means["conv1"] == pytest.approx(np.mean(last) * trace.tick_s * 1e6)


def test_bins_of_nearly_equal_numbers_differ_in_shade():
    raster = Raster(bands=[("a", 9, 2)], start=0, stop=3, timed=False)
    raster.bins = np.array([[0, 90, 95], [90, 100, 100], [7, 7, 7]])
    dark = raster.shades(0, 2)
    assert (dark[0, 0], dark[0, 1], dark[1, 1]) == (0, FAINTEST, 1)
    assert FAINTEST < dark[0, 2] < 1
    assert (raster.shades(2, 1) == 1).all()
    raster.bins = np.zeros((1, 2))
    assert (raster.shades(0, 1) == 0).all()


@pytest.mark.parametrize("key", [("timed", "packets"), ("timed", "spikes"), ("count", "counts")])
@pytest.mark.parametrize("marks", [0, 10**6])
def test_every_spike_is_in_the_raster(key, marks, traces, monkeypatch):
    monkeypatch.setattr(gather, "MARKS", marks)
    with Trace(traces[key]) as trace:
        raster = gather_raster(trace)
        wanted = trace.counts.total("spike_out")
        assert raster.spikes == wanted
        if raster.bins is not None:
            assert raster.bins.sum() == wanted
            by_layer = trace.counts["spike_out"].sum(axis=0)
            edges = np.cumsum([0, *(rows for _, _, rows in raster.bands)])
            for (name, _, _), a, b in zip(raster.bands, edges, edges[1:]):
                mine = [i for i, layer in enumerate(trace.count_layers) if layer == name]
                assert raster.bins[a:b].sum() == by_layer[mine].sum()
        else:
            assert len(raster.marks) == wanted
            assert {m[3] for m in raster.marks} == {-1, 1}
            chart = raster_chart(raster, trace.tick_s)
            strokes = [b["above"].count("M") + b["below"].count("M") for b in chart["bands"]]
            assert sum(strokes) == wanted
        assert (raster.marks is None) == (marks == 0 or key[1] == "counts")


# --- the page


def test_what_a_page_says(traces, tmp_path):
    page, text = page_of(traces["timed", "packets"], tmp_path / "page.html")
    words = " ".join(page.words)
    for wanted in ("digits-gxnor on gxnor45", "Activity", "Link traffic", "Where the time goes",
                   "Packets from core to core", "Energy by action", "Dynamic energy by layer",
                   "Pairs that made an event", "input is sent"):  # fmt: skip
        assert wanted in words, wanted
    with Trace(traces["timed", "packets"]) as trace:
        assert trace.network_hash in words
        assert f"{trace.counts.resting_fraction:.1%}" in words
        assert f"{trace.accuracy:.2%}" in words
        assert trace.provenance["network"]["data"] in words
        energy = nm.estimate_energy(trace.counts, nm.load_prices("horowitz45"))
        assert f"{trace.packet_count:,} packets" in words
    for r in (*energy.by_layer.values(), *list(energy.by_action.values())[:5]):
        assert str(r) in words
    assert "did not finish" not in words
    assert text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("key", [("timed", "spikes"), ("timed", "counts"), ("count", "counts")])
def test_what_was_not_recorded_is_said(key, traces, tmp_path):
    page, _ = page_of(traces[key], tmp_path / "page.html")
    words = " ".join(page.words)
    assert "Packets were not recorded; record with detail packets." in words
    assert "Packets from core to core" not in words
    assert ("Where the time goes" in words) == (key[0] == "timed")
    assert ("No total: static energy is power" in words) == (key[0] == "count")


def test_a_run_that_did_not_finish(traces, tmp_path):
    page, _ = page_of(traces["unfinished"], tmp_path / "page.html")
    words = " ".join(page.words)
    with Trace(traces["unfinished"]) as trace:
        assert trace.packet_count > 1000
        assert (
            f"The run did not finish. 0 samples and {trace.packet_count:,} packets were written"
            in words
        )
    assert "nothing to price" in words
    assert "Packets from core to core" in words


def test_without_prices(traces, tmp_path):
    page, _ = page_of(traces["count", "counts"], tmp_path / "page.html", prices=None)
    assert "No prices were given." in page.words
    assert "Dynamic energy by layer" not in page.words


def test_unpriced_actions_are_named(traces, tmp_path):
    page, _ = page_of(traces["timed", "counts"], tmp_path / "page.html", prices="loihi14")
    assert "no price for 'token_out'" in " ".join(page.words)
    assert "Dynamic energy by layer" not in page.words


@pytest.mark.parametrize("key", [("timed", "packets"), ("count", "spikes"), "unfinished"])
def test_a_page_loads_nothing_and_runs_nothing(key, traces, tmp_path):
    page, text = page_of(traces[key], tmp_path / "page.html")
    assert not {"script", "img", "link", "iframe", "object", "a", "image", "use"} & set(page.tags)
    assert not {"src", "href", "style", "xlink:href"} & {name for name, _ in page.attributes}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    policy = re.search(r'Policy" content="([^"]+)"', text)[1]
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert html.unescape(policy).startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "url(" not in style
    assert "@import" not in style


def test_names_from_a_trace_are_escaped(tmp_path):
    bad = "<script>alert(1)<script>\"'&"
    rng = np.random.default_rng(0)
    network = Network(
        name=bad,
        input=Input(shape=(20,)),
        layers=[
            Linear(name=bad[:40], weights=rng.integers(-1, 2, (20, 20))),
            Threshold(thresholds=np.tile([-1, 2], (20, 1))),
            Linear(name="out", weights=rng.integers(-1, 2, (4, 20))),
            Readout(),
        ],
        meta={"note": bad + "\x01"},
    )
    mapping = nm.map_network(network, nm.load_chip("gxnor45"))
    nm.simulate(mapping, rng.integers(-1, 2, (3, 20)), mode="timed", trace=tmp_path / "bad.h5")
    page, text = page_of(tmp_path / "bad.h5", tmp_path / "page.html")
    assert "script" not in page.tags
    assert "\x01" not in text
    assert any("<script>alert(1)<script>" in w for w in page.words)


def test_a_place_that_cannot_be_written(traces, tmp_path):
    with (
        Trace(traces["count", "counts"]) as trace,
        pytest.raises(SimulationError, match=r"cannot write report .*: Is a directory"),
    ):
        write_report(trace, tmp_path)
    assert list(tmp_path.parent.glob("*.partial")) == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_real_browser_has_no_complaint(width, traces, tmp_path):
    page_of(traces["timed", "packets"], tmp_path / "page.html")
    probe = tmp_path / "probe.html"
    # the same page without its policy, so that a probe can measure what was drawn
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = re.sub(r"<meta http-equiv[^>]*>", "", text)
    probe.write_text(
        text.replace(
            "</body>",
            "<script>document.title = JSON.stringify({wide: document.documentElement.scrollWidth,"
            "view: innerWidth, charts: [...document.querySelectorAll('svg[role=img]')].map("
            "s => s.getBoundingClientRect().width * s.getBoundingClientRect().height)})"
            "</script></body>",
        ),
        encoding="utf-8",
    )

    def browse(path, *options):
        return subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
             f"--window-size={width},2400", *options, path.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    result = browse(tmp_path / "page.html", f"--screenshot={tmp_path / 'page.png'}")
    assert "CONSOLE" not in result.stderr, result.stderr
    assert (tmp_path / "page.png").stat().st_size > 20_000
    measured = re.search(r"<title>(.*?)</title>", browse(probe, "--dump-dom").stdout)[1]
    found = json.loads(html.unescape(measured))
    assert found["wide"] <= found["view"]
    assert len(found["charts"]) == 9
    assert min(found["charts"]) > 3000
