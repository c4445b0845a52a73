"""What only mp4_forensics must do: the sharp checks of its sheet."""

import copy
import json
import os
import re
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate import run
from foveate.errors import InputError
from foveate.systems.forensics.mp4_forensics import data, examples, fields, reproduce
from foveate.systems.forensics.mp4_forensics.baselines import (
    CountTree,
    LikelihoodRatio,
    StreamDescriptors,
    descriptors,
    dissimilarity,
)
from foveate.systems.forensics.mp4_forensics.boxes import CONTAINERS, FileSource, SparseSource, parse, read_tree
from foveate.systems.forensics.mp4_forensics.data import embedded, hollow, hollows, labelled, pack, unpack
from foveate.systems.forensics.mp4_forensics.fuzz import attack
from foveate.systems.forensics.mp4_forensics.method import ContainerForensics, prepare, select
from foveate.systems.forensics.mp4_forensics.streams import streams
from foveate.systems.forensics.mp4_forensics.symbols import Settings, difference, signed_log, unlogged
from foveate.systems.forensics.mp4_forensics.templates import DEVICES, Media, Recording, box, full, write

TYPED = Settings()


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep fitted models out of the user's cache, and let nothing that lies there decide a test."""
    before = os.environ.get("FOVEATE_CACHE")
    os.environ["FOVEATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("FOVEATE_CACHE")
    if before:
        os.environ["FOVEATE_CACHE"] = before


@pytest.fixture(scope="module")
def few():
    """Files of some sources, of which each tool made some."""
    items = labelled(embedded(), "tool")
    return items.take(np.array([g < "032" for g in items.group]))


@pytest.fixture(scope="module")
def fitted(few):
    return ContainerForensics(folds=3).fit(few.files, few.label, few.group)


def of(tool, text="", network=""):
    """Take the first embedded file of a tool whose options hold a text."""
    return next(file for row, file in hollows() if row["tool"] == tool and text in row["options"] and row["network"] == network)


def parsed(content):
    return parse(SparseSource.whole(bytes(content)), "x.mp4")


def phi(content):
    """Return the symbols of a file under the default settings."""
    return prepare(parsed(content)).symbols(TYPED)


def media(frames=12, seed=0):
    """Make coded tracks: what is in the samples does not matter to a box."""
    rng = np.random.default_rng(seed)
    avc = bytes([1, 66, 192, 30, 255, 225, 0, 4, 103, 66, 192, 30, 1, 0, 2, 104, 206])
    pictures = Media(
        [rng.bytes(int(n)) for n in rng.integers(20, 90, frames)], [3000] * frames, 90000, avc, (160, 120), keys=[0]
    )
    return [pictures, Media([rng.bytes(9)] * frames, [1024] * frames, 44100, b"\x12\x10", channels=2)]


# --- the parser --------------------------------------------------------------------------------------------------------


def test_every_embedded_file_parses_whole_and_is_what_ffprobe_said():
    found = reproduce.agreement(0, "quick")["parser"]
    assert found == {"disagreements": 0, "mismatches": 0, "files": len(hollows())}
    assert found["files"] > 700
    assert not [str(c) for row, file in hollows() for c in file.tree(row["name"]).complaints]
    fragmented = [
        (row, file.tree("")) for row, file in hollows() if "fragmented" in row["options"] or "frag_keyframe" in row["options"]
    ]
    lengths = [max(s.duration / s.timescale for s in streams(tree)) for _, tree in fragmented]
    assert len(lengths) > 30
    assert min(lengths) > 0.5
    codecs = {stream.codec for _, file in hollows() for stream in streams(file.tree(""))}
    assert {"avc1", "hvc1", "mp4v", "mp4a"} <= codecs


def test_fields_stand_where_the_standard_puts_them():
    """Read a movie header of version 1 and a track with the offsets of the sheet, by hand."""
    created, scale, length = 1 << 33, 1000, (1 << 33) + 5
    head = struct.pack(">QQIQ", created, created, scale, length) + struct.pack(">IH", 1 << 16, 256) + bytes(10)
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 300 << 16, 0, 1 << 30)
    movie = full("mvhd", 1, 0, head, matrix, bytes(24), struct.pack(">I", 7))
    said = parsed(box("moov", movie)).first("moov/mvhd").fields
    assert (said["timescale"], said["duration"], said["next_track_ID"], said["version"]) == (scale, length, 7, 1)
    assert said["matrix"] == "0 1 0 -1 0 0 + 0 1"
    letters = full("mdhd", 0, 0, struct.pack(">IIIIHH", 1, 1, 44100, 9, 0x15C7, 0))
    assert parsed(box("moov", box("trak", box("mdia", letters)))).first("moov/trak/mdia/mdhd").fields["language"] == "eng"


def test_quicktime_sound_entries_of_versions_1_and_2_and_both_kinds_of_meta():
    def track(entry):
        handler = full("hdlr", 0, 0, b"mhlrsoun", bytes(12), b"\x05sound")
        table = box("stbl", full("stsd", 0, 0, struct.pack(">I", 1), entry))
        return parsed(box("moov", box("trak", box("mdia", handler, box("minf", table)))))

    path = "moov/trak/mdia/minf/stbl/stsd"
    first = struct.pack(">6xHHHIHHhHI", 1, 1, 0, 0, 2, 16, -2, 0, 44100 << 16) + struct.pack(">4I", 1024, 0, 0, 2)
    entry = track(box("mp4a", first, box("wave", box("frma", b"mp4a"), bytes(8)))).first(f"{path}/mp4a")
    assert entry.fields["samples_per_packet"] == 1024
    assert entry.first("wave/frma").fields["format"] == "mp4a"
    second = struct.pack(">6xHHHIHHhHI", 1, 2, 0, 0, 3, 16, -2, 0, 1 << 16) + struct.pack(">IdI20x", 72, 96000.0, 6)
    entry = track(box("lpcm", second, box("chan", bytes(12)))).first(f"{path}/lpcm")
    assert (entry.fields["rate"], entry.fields["channels"], [c.type for c in entry.children]) == (96000.0, 6, ["chan"])
    handler = full("hdlr", 0, 0, bytes(4), b"mdir", bytes(13))
    for meta, is_full in ((box("meta", handler), 0), (full("meta", 0, 0, handler), 1)):
        found = parsed(box("moov", box("udta", meta))).first("moov/udta/meta")
        assert (found.fields["full_box"], [c.type for c in found.children]) == (is_full, ["hdlr"])


def test_a_terminator_in_user_data_is_no_error():
    tree = parsed(box("moov", box("udta", box("\xa9nam", struct.pack(">HH", 2, 0), b"hi"), bytes(4))))
    assert not tree.complaints
    assert tree.first("moov/udta").trailing == 4
    assert not tree.mismatches()


def test_the_media_are_never_read_whatever_their_place(tmp_path):
    class Watched(FileSource):
        def read(self, offset, count, limit):
            before = self.bytes_read
            got = super().read(offset, count, limit)
            if self.bytes_read > before:
                spans.append((self.start, self.start + len(self.window)))
            return got

    for tool, text in (("ffmpeg", "-c copy"), ("ffmpeg", "frag_keyframe"), ("gstreamer", "qtmux"), ("native", "")):
        path, spans = tmp_path / "x.mp4", []
        path.write_bytes(of(tool, text).content())
        with Watched(path) as source:
            tree = parse(source)
        payloads = [(b.start + b.header, b.start + b.size) for b in tree.boxes if b.type == "mdat"]
        assert payloads
        assert not [s for s in spans for p in payloads if max(s[0], p[0]) < min(s[1], p[1])]


def test_a_gigabyte_of_media_costs_no_byte_more():
    found = reproduce.cost(0, "quick")
    assert found["1 GB"]["more_bytes"] == 0
    assert found["1 GB"]["bytes_read"] < 10**6


# --- hostile files -----------------------------------------------------------------------------------------------------


def test_a_thousand_mutated_files_lead_to_no_crash():
    outcome = attack([file.content() for _, file in hollows()[::40] if file.size < 40_000], 1000, seed=1)
    assert not outcome.crashes
    assert outcome.files == 1000
    assert outcome.complained > 400
    assert outcome.deepest <= 32
    assert outcome.slowest < 5  # a hang, not a slow machine


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files_lead_to_no_crash():
    outcome = attack([file.content() for _, file in hollows()[::7] if file.size < 40_000], 100_000, seed=2)
    assert not outcome.crashes
    assert outcome.deepest <= 32


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted({*fields.READERS, *CONTAINERS, "stsd", "uuid"})), st.binary(max_size=60)), max_size=6
    )
)
def test_anything_in_any_box_gives_a_tree_and_symbols(items):
    inner = b"".join(box(kind, body) for kind, body in items)
    stsd = full("stsd", 0, 0, struct.pack(">I", 1), inner)
    tree = parsed(box("moov", inner, box("trak", box("mdia", box("minf", box("stbl", stsd))), inner), box("meta", inner)))
    prepare(tree).symbols(TYPED)
    assert not tree.mismatches()


def test_bounds_hold(tmp_path):
    deep = b""
    for _ in range(5000):
        deep = struct.pack(">I4s", 8 + len(deep), b"moov") + deep
    tree = parsed(deep)
    assert sum(1 for _ in tree.walk()) <= 32
    assert [c.kind for c in tree.complaints] == ["depth"]
    many = parse(SparseSource.whole(box("moov", box("free") * 5000)), max_boxes=1000)
    assert sum(1 for _ in many.walk()) <= 1000
    assert [c.kind for c in many.complaints] == ["boxes"]
    runs = full("trun", 0, 0x100, struct.pack(">I", 0xFFFFFFFF))
    assert [c.kind for c in parsed(box("moof", box("traf", runs))).complaints] == ["fields"]


WRONG = {
    "overrun": ("says 999 bytes where its parent has", lambda b: b[:-24] + struct.pack(">I", 999) + b[-20:]),
    "cut off": ("is damaged", lambda b: b[: len(b) // 2]),
    "2^63": ("9,223,372,036,854,775,808 bytes", lambda b: b + struct.pack(">I4sQ", 1, b"mdat", 1 << 63)),
    "size 3": ("less than its header", lambda b: b + struct.pack(">I4s", 3, b"free")),
    "half a 64-bit size": ("ends within a 64-bit size", lambda b: b + struct.pack(">I4s", 1, b"mdat")),
    "webm": ("Matroska or WebM", lambda b: b"\x1a\x45\xdf\xa3" + b),
    "no movie": ("no movie box", lambda b: box("ftyp", b"isom", bytes(4)) + box("mdat", b"abc")),
    "text": ("not an ISO base media file", lambda b: b"Dear reader, this is a letter."),
    "empty": ("is empty", lambda b: b""),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files_give_one_clear_line(what, tmp_path):
    message, spoil = WRONG[what]
    path = tmp_path / "spoilt.mp4"
    path.write_bytes(spoil(write(DEVICES[2], media(), Recording())))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        run("mp4_forensics", path, action="inspect")
    assert "\n" not in str(error.value)
    assert "spoilt.mp4" in str(error.value)
    if what in ("cut off", "2^63", "size 3"):
        (outcome,) = [run("mp4_forensics", path, action="inspect", damaged=True)]
        assert outcome["boxes"].values["complaints"]


# --- symbols -----------------------------------------------------------------------------------------------------------


def test_the_recording_does_not_change_the_features_but_the_camera_does():
    recording = Recording(3_600_000_000, "a title", "+10.0000+020.0000/")
    other = Recording(3_777_777_777, "another, longer one", "-33.1234-070.5678/")
    for device in DEVICES[::3]:
        assert phi(write(device, media(), recording)) == phi(write(device, media(), other))
    kept = Settings(drop_identifying=False)
    one, two = (prepare(parsed(write(DEVICES[0], media(), r))).symbols(kept) for r in (recording, other))
    assert one != two
    assert len({json.dumps(sorted(phi(write(d, media(), recording)).counts.items())) for d in DEVICES}) == len(DEVICES)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(DEVICES) - 1), st.integers(0, 5000), st.integers(0, 2**32 - 1))
def test_padding_dates_and_the_order_of_tracks_leave_the_features(number, padding, created):
    from dataclasses import replace

    device = replace(DEVICES[number], padding=40, order=("ftyp", "free", "mdat", "moov"))
    base = phi(write(device, media(), Recording(title="t")))
    turned = replace(device, padding=padding, sound_first=not device.sound_first)
    assert phi(write(turned, media(), Recording(created, title="u"))) == base
    by_index = Settings(tracks="by_index")
    one, two = (prepare(parsed(write(d, media(), Recording(title="t")))).symbols(by_index) for d in (device, turned))
    assert one != two


def test_tracks_go_by_media_values_by_type_and_order_only_on_demand():
    document = prepare(of("ffmpeg").tree("x"))
    typed = document.symbols(TYPED)
    assert "moov/trak[vide]/mdia/mdhd/@duration" in typed.values
    assert any(s.startswith("moov/trak[vide]/mdia/hdlr/@name=") for s in typed.counts)
    assert any(s.startswith("moov/udta/meta/ilst/\xa9too/data/@value=Lavf") for s in typed.counts)
    assert not any("created" in s or "track_ID" in s for s in (*typed.counts, *typed.values))
    flat = document.symbols(Settings(typing="all_categorical", tracks="flat"))
    assert not flat.values
    assert any(s.startswith("moov/trak/mdia/mdhd/@duration=") for s in flat.counts)
    ordered = document.symbols(Settings(order_features=True)).counts.keys() - typed.counts.keys()
    assert "moov/trak/#order=tkhd>edts>mdia" in ordered
    assert all("#order=" in s for s in ordered)


def test_numbers_are_squeezed_and_come_back():
    for value in (0.0, 1.0, -1.0, 512.5, -3e9, 2.0**63):
        assert unlogged(signed_log(value)) == pytest.approx(value)
    document = prepare(of("handbrake").tree("x"))
    edits = [leaf for leaf in document.leaves if leaf.path.endswith("[soun#1]/edts/elst") and leaf.field == "media_time"]
    mean = sum(leaf.count * signed_log(leaf.value) for leaf in edits) / sum(leaf.count for leaf in edits)
    assert document.symbols(TYPED).values["moov/trak[soun]/edts/elst/@media_time"] == pytest.approx(mean)


def test_exiftool_leaves_traces_but_hardly_by_a_date_alone():
    natives = {k.row["source_id"]: k.document for k in embedded() if k.row["tool"] == "native" and not k.row["network"]}
    tags, dates = [], []
    for document, row in embedded():
        if row["tool"] == "exiftool" and not row["network"]:
            apart = difference(natives[row["source_id"]], document, TYPED)
            (dates if "CreateDate" in row["options"] else tags).append({s for found in apart.values() for s in found})
    assert len(tags) > 30
    assert all(tags)
    # A changed date is a changed value of a field that is dropped; only an empty wide atom goes with it.
    assert len(dates) > 4
    assert all(found <= {"wide"} for found in dates)
    assert set() in dates


# --- the classifier ----------------------------------------------------------------------------------------------------


def test_selection_agrees_with_the_rule_taken_literally():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40, 6))
    matrix = np.column_stack([base, 2 * base[:, 0] + 1, -base[:, 3], np.ones(40), base[:, 1] + 1e-3 * base[:, 2]])
    present = np.full(10, 40)
    present[5] = 1
    kept, same = select(matrix, present)
    slow = []
    for j in range(10):
        rare = present[j] < 2 or np.ptp(matrix[:, j]) == 0
        if not rare and not any(abs(np.corrcoef(matrix[:, i], matrix[:, j])[0, 1]) >= 0.999 for i in slow):
            slow.append(j)
    assert kept.tolist() == slow == [0, 1, 2, 3, 4]
    assert same == ((6,), (9,), (), (7,), ())


def test_the_evidence_adds_up_to_the_difference_of_the_squared_distances(few, fitted):
    held = labelled(embedded(), "tool")
    held = held.take(np.array([g >= "060" for g in held.group]))
    z = fitted.transform(held.files)
    apart = ((z[:, None] - fitted.projected_[None]) ** 2).sum(-1)
    for i, verdict in enumerate(fitted.judge(held.files)):
        chosen = fitted.classes_[fitted.label_] == verdict.label
        expected = apart[i][~chosen].min() - apart[i][chosen].min()
        assert sum(e.weight for e in verdict.evidence) == pytest.approx(expected, rel=1e-6, abs=1e-8)
        assert verdict.distance == pytest.approx(np.sqrt(apart[i].min()))
        assert verdict.label == fitted.predict(held.files[i : i + 1])[0]
        assert verdict.neighbours[0].distance == min(n.distance for n in verdict.neighbours)
    assert fitted.score(held.files, held.label) > 0.7


def test_a_saved_model_is_the_same_to_the_bit(few, fitted, tmp_path):
    fitted.save(tmp_path / "m.safetensors", "tool")
    again, task = ContainerForensics.load(tmp_path / "m.safetensors")
    assert task == "tool"
    assert again.judge(few.files[::9]) == fitted.judge(few.files[::9])
    assert again.to_bytes("tool") == fitted.to_bytes("tool")
    content = (tmp_path / "m.safetensors").read_bytes()
    for spoilt in (content[:100], content.replace(b'\\"version\\": 1', b'\\"version\\": 9'), b"", content[:-8]):
        (tmp_path / "bad.safetensors").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"bad\.safetensors"):
            ContainerForensics.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "switches",
    [{"reduce": "pca"}, {"reduce": "nca"}, {"reduce": "none"}, {"select": False}, {"n_neighbors": 3}, {"order_features": True},
     {"tracks": "flat"}, {"picture_size": "categorical"}, {"drop_identifying": False}, {"typing": "all_categorical"}],
)  # fmt: skip
def test_every_switch_learns_something(few, switches):
    few = few.take(np.isin(few.label, ("native", "ffmpeg", "handbrake", "gstreamer", "exiftool")))
    train = np.array([g < "024" for g in few.group])
    made = ContainerForensics(reject=False, **switches).fit(few.files[train], few.label[train])
    assert made.score(few.files[~train], few.label[~train]) > 0.5


def test_typed_features_are_fewer_than_values_as_symbols(few, fitted):
    other = ContainerForensics("all_categorical", reject=False, reduce="none").fit(few.files, few.label)
    assert fitted.columns_seen < other.columns_seen / 2
    assert fitted.columns_kept < other.columns_kept


def test_what_was_not_seen_is_said_to_be_unknown(few):
    known = few.take(few.label != "vlc")
    made = ContainerForensics(folds=3).fit(known.files, known.label, known.group)
    strange = few.files[few.label == "vlc"]
    assert np.mean([v.unknown for v in made.judge(strange)]) > 0.9
    assert not any(v.unknown for v in ContainerForensics(reject=False).fit(known.files, known.label).judge(strange[:3]))
    assert max(v.unseen for v in made.judge(strange)) > 0.05


def test_one_class_is_refused_and_a_class_of_one_file_is_not(few):
    with pytest.raises(InputError, match="1 classes"):
        ContainerForensics().fit(few.files[:9], ["a"] * 9)
    with pytest.raises(InputError, match="all alike"):
        ContainerForensics(reject=False).fit([few.files[0]] * 4, ["a", "a", "b", "b"])
    label = few.label.copy()
    label[0] = "alone"
    assert "alone" in ContainerForensics(reject=False).fit(few.files, label).classes_


# --- the methods that it is compared with ------------------------------------------------------------------------------


def test_likelihood_ratio_and_dissimilarity_by_hand(few):
    def document(*symbols):
        made = copy.copy(few.files[0])
        from foveate.systems.forensics.mp4_forensics.symbols import Document, Leaf

        return Document(made.name, tuple(Leaf(s, "", "b", None, 1) for s in symbols), ())

    files = [document("x", "y"), document("x"), document("x", "z"), document("x"), document("y")]
    made = LikelihoodRatio().fit(files, ["a", "a", "b", "b", "b"])
    # x: 2 of 2 against 2 of 3; y: 1 of 2 against 1 of 3; z is on one side only and says nothing.
    assert made.scores([document("x", "y", "z", "new")])[0, 0] == pytest.approx(np.log(1.5) + np.log(1.5))
    smooth = LikelihoodRatio(0.5).fit(files, ["a", "a", "b", "b", "b"])
    assert smooth.scores([document("z")])[0, 0] == pytest.approx(np.log((0.5 / 3) / (1.5 / 4)))
    assert dissimilarity(document("x", "y", "z"), document("x")) == pytest.approx(2 / 3)


def test_baselines_learn_and_do_not_open_the_tree(few):
    train = np.array([g < "024" for g in few.group])
    for made in (CountTree(), LikelihoodRatio(0.5), StreamDescriptors("svm"), StreamDescriptors("rf")):
        score = made.fit(few.files[train], few.label[train]).score(few.files[~train], few.label[~train])
        assert score > 0.3, made
    said = descriptors(prepare(of("ffmpeg").tree("x")))
    assert {"vide.codec=avc1", "vide.width", "vide.height", "soun.channels"} <= said.keys()
    assert not any("/" in key.partition("=")[0] for key in said)


# --- data --------------------------------------------------------------------------------------------------------------


def test_an_emptied_file_says_what_the_file_said(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(write(DEVICES[4], media(), Recording()))
    made = hollow(path)
    assert prepare(made.tree("x.mp4")) == prepare(read_tree(path))
    assert sum(len(content) for _, content in made.ranges) < path.stat().st_size
    pack([made, made], tmp_path / "two.xz")
    assert unpack(tmp_path / "two.xz") == [made, made]
    for spoilt in (b"", (tmp_path / "two.xz").read_bytes()[:80]):
        (tmp_path / "bad.xz").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"bad\.xz"):
            unpack(tmp_path / "bad.xz")


def test_the_embedded_files_are_small_and_have_no_media():
    assert data.HEADERS.stat().st_size + data.MANIFEST.stat().st_size < 10**6
    assert data.digest(data.HEADERS, data.MANIFEST) == data.DIGEST
    for _, file in hollows():
        tree = file.tree("")
        payloads = [(b.start + b.header, b.start + b.size) for _, _, b in tree.walk() if b.type in ("mdat", "free")]
        assert not [r for r in file.ranges for p in payloads if max(r[0], p[0]) < min(r[0] + len(r[1]), p[1])]


def test_no_source_is_in_two_parts(tmp_path):
    examples.layout("manifest", tmp_path)
    for source in (data.Sample(), data.Manifest(str(tmp_path))):
        groups = [set(source.arrays(part)["group"].tolist()) for part in ("train", "val", "test")]
        assert all(groups)
        assert not groups[0] & groups[1] | groups[1] & groups[2] | groups[0] & groups[2]


def test_visions_names_are_read(tmp_path):
    examples.layout("vision", tmp_path)
    rows = [k.row for k in data.read_vision(tmp_path)]
    assert {r["network"] for r in rows} == {"", "WhatsApp"}
    assert {r["brand"] for r in rows} == {"Asteria", "Borealis", "Cygnus", "Draco"}
    assert {r["device"] for r in rows} == {f"D{n:02d}" for n in range(1, 7)}


MANIFESTS = {
    "no column 'path'": "file,tool\nx.mp4,ffmpeg\n",
    "no column brand, tool or network": "path\nx.mp4\n",
    ":2": "path,tool\nx.mp4,ffmpeg\n",
    "has no lines": "path,tool\n",
}


@pytest.mark.parametrize("message", MANIFESTS)
def test_wrong_tables_are_refused_by_line(message, tmp_path):
    (tmp_path / "m.csv").write_text(MANIFESTS[message])
    with pytest.raises(InputError, match=re.escape(message)):
        run("mp4_forensics", tmp_path / "m.csv", action="fit")


# --- as a user does it -------------------------------------------------------------------------------------------------


def test_fit_examine_map_evaluate_and_compare(tmp_path):
    examples.layout("manifest", tmp_path)
    table = tmp_path / "manifest.csv"
    outcome = run("mp4_forensics", table, action="fit")
    outcome.save(tmp_path / "out")
    model = tmp_path / "out" / "manifest_model.safetensors"
    video = examples.example("examine", "videos", "mp4", tmp_path)
    strange = examples.example("compare", "second", "mp4", tmp_path / "out")
    said = run("mp4_forensics", [video, strange], model=str(model))
    assert said[1]["verdict"].values["label"] == "handbrake"
    assert "moov/" in "\n".join(said[1].notes)
    assert said[1]["verdict"].values["evidence"][0]["symbol"]
    assert "stsd" in said[1]["tree"].text
    assert run("mp4_forensics", table, action="map", model=str(model))["map"].size == (700, 1000)
    rows = run("mp4_forensics", table, action="evaluate", folds=3)["scores"].rows
    assert [r[0] for r in rows] == ["nn", "tree", "llr", "llr_smoothed", "svm", "rf"]
    apart = run("mp4_forensics", video, strange, action="compare")["difference"].values
    assert any("HandBrake" in s for s in apart["only_second"])
    assert not any(difference(embedded()[0].document, embedded()[0].document, TYPED).values())


def test_the_embedded_files_judge_a_file_and_the_second_time_quickly(tmp_path):
    video = examples.example("examine", "videos", "mov", tmp_path)
    first = run("mp4_forensics", video)
    started = time.perf_counter()
    again = run("mp4_forensics", video)
    assert time.perf_counter() - started < 60
    assert first["verdict"].values == again["verdict"].values
    assert first["verdict"].values["label"] == "gstreamer"
    with pytest.raises(InputError, match="no embedded file"):
        run("mp4_forensics", action="sample", name="nothing.mp4")
