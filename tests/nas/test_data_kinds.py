"""Data of every kind: divided into parts that share nothing, known by their content, refused by name."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from device_profiles.errors import HwnasError, InvalidData, UnknownName, UsageError
from nas.weights import data, images
from nas.weights.data import Wanted
from nas.weights.data.augmentation import augment, parse
from nas.weights.data.pairs import _BEGIN, _END, _FILL
from nas.weights.data.tasks import IGNORED, Classification, Tokens

COLOUR, TEXT, PAIRS = Wanted((1, 3, 8, 8)), Wanted((1, 16)), Wanted((1, 2, 10))


def parts(found):
    return found.train, found.valid, found.test


def png(shade, size=(8, 8)):
    file = io.BytesIO()
    Image.new("RGB", size, shade).save(file, "png")
    return file.getvalue()


def archive(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def members(count=10, prefix="pictures/"):
    shades = {"cat": (200, 20, 20), "dog": (20, 20, 200)}
    return [
        (f"{prefix}{part}/{label}/{number}.png", png(tuple(channel + number for channel in shade)))
        for part, number_of in (("train", count), ("test", 3))
        for label, shade in shades.items()
        for number in range(number_of)
    ]


def npz(path, **arrays):
    rng = np.random.default_rng(0)
    usual = {"images": rng.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8), "labels": np.arange(20) % 2}
    np.savez(path, **{name: column for name, column in {**usual, **arrays}.items() if column is not None})
    return str(path)


# -- names


def test_each_name_is_claimed_by_its_kind(tmp_path):
    names = {
        "digits": "digits",
        "text": "text",
        "text:a.txt": "text",
        "pairs": "pairs",
        "pairs:a.tsv": "pairs",
        "a.npz": "npz",
        "a.tar": "archive",
        "a.TAR.gz": "archive",
        "dataset:A-0": "dataset",
        str(tmp_path): "folder",
    }
    for name, kind in names.items():
        assert data.claiming(name) is data.REGISTRY.get(kind)
        assert sum(one.claims(name) for _, one in data.REGISTRY) == 1


@pytest.mark.parametrize("name", ["digit", "nowhere.png", "text:nowhere.txt", "pairs:nowhere.tsv", "no.npz", "no.tar"])
def test_what_is_not_there_is_a_wrong_request(name):
    for ask in (data.fingerprint, lambda name: data.load(name, COLOUR, seed=0)):
        with pytest.raises(UsageError) as caught:
            ask(name)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("digits", TEXT), ("digits", PAIRS), ("text", COLOUR), ("text", PAIRS), ("pairs", TEXT), ("pairs", COLOUR)],
)
def test_networks_that_read_something_else_are_refused(name, wanted):
    with pytest.raises(UsageError, match="the networks read"):
        data.load(name, wanted, seed=0)


def test_shared_weights_take_every_kind_of_images(tmp_path):
    name = npz(tmp_path / "a.npz")
    found = images.load(name, COLOUR.input_shape, seed=0)
    assert (found.classes, len(found.train), len(found.valid), len(found.test)) == (2, 12, 4, 4)
    assert torch.equal(found.train.images, data.load(name, COLOUR, seed=0).train.inputs)
    assert images.listing(name) == data.fingerprint(name)
    with pytest.raises(UsageError, match="no data set of images"):
        images.load("text", TEXT.input_shape, seed=0)


# -- archives


@pytest.mark.parametrize(("end", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")])
def test_an_archive_is_read_as_the_folder_that_it_holds(tmp_path, monkeypatch, end, mode):
    path = archive(tmp_path / f"a{end}", members(), mode)
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = data.load(str(path), COLOUR, seed=1)
    folder = data.load(str(tmp_path / "out" / "pictures"), COLOUR, seed=1)
    assert [len(part) for part in parts(found)] == [16, 4, 6]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(parts(found), parts(folder), strict=True))
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(parts(found), parts(folder), strict=True))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_paths_that_lead_out_of_an_archive_write_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    outside = [*members(prefix="../../"), ("/etc/train/cat/x.png", png((200, 20, 20)))]
    path = archive(tmp_path / "in" / "a.tar", outside)
    found = data.load(str(path), COLOUR, seed=0)
    assert len(found.train) + len(found.valid) == 21
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path, mode):
    path = archive(tmp_path / "a.tar", members(), mode)
    content = path.read_bytes()
    end = content.rstrip(b"\0") if mode == "w" else content
    for share in (0.02, 0.31, 0.5, 0.77, 0.99):
        cut = int(len(end) * share)
        for at in (cut, cut // 512 * 512) if mode == "w" else (cut,):
            path.write_bytes(content[:at])
            with pytest.raises(InvalidData, match=r"a\.tar") as caught:
                data.load(str(path), COLOUR, seed=0)
            assert caught.value.hint


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a/0.png", png((1, 2, 3)))] * 5, "1 class folders"),
        ([], "0 class folders"),
        ([("0.png", png((1, 2, 3)))], "in no folder"),
        ([*members(), ("train/cat/odd.png", b"hello")], r"odd\.png"),
        ([*members(), ("pictures/test/bird/0.png", png((1, 1, 1)))], "same classes: bird"),
    ],
)
def test_an_archive_that_cannot_be_learned_from_is_refused(tmp_path, members, words):
    path = archive(tmp_path / "a.tar", members)
    with pytest.raises(InvalidData, match=words) as caught:
        data.load(str(path), COLOUR, seed=0)
    assert caught.value.hint


# -- arrays


def test_arrays_are_read_in_every_layout(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    first = data.load(npz(tmp_path / "a.npz", images=colour), COLOUR, seed=0)
    second = data.load(npz(tmp_path / "b.npz", images=colour.transpose(0, 3, 1, 2)), COLOUR, seed=0)
    real = data.load(npz(tmp_path / "c.npz", images=colour / 255.0), COLOUR, seed=0)
    for one, other, third in zip(parts(first), parts(second), parts(real), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.allclose(one.inputs, third.inputs, atol=1e-4)
    grey = data.load(npz(tmp_path / "d.npz", images=colour[..., 0]), COLOUR, seed=0)
    assert torch.equal(grey.train.inputs[:, 0], grey.train.inputs[:, 2])


def test_labels_are_classes_in_their_order(tmp_path):
    shades = np.repeat(np.array([10, 90, 200], dtype=np.uint8), 10)
    pixels = np.broadcast_to(shades[:, None, None], (30, 8, 8))
    name = npz(
        tmp_path / "a.npz",
        images=pixels,
        labels=np.repeat([-3.0, 5.0, 70.0], 10),
        test_images=pixels[5:25],
        test_labels=np.repeat([-3, 5, 70], 10)[5:25],
    )
    found = data.load(name, COLOUR, seed=0)
    assert found.task == Classification(3)
    assert [len(part) for part in parts(found)] == [24, 6, 20]
    for part in parts(found):
        bright = part.inputs.mean(dim=(1, 2, 3))
        assert torch.equal((bright > bright.min()).long() + (bright == bright.max()).long(), part.targets)


ONE = np.zeros(20, dtype=np.int64)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": ONE}, "1 classes"),
        ({"labels": np.arange(20) / 2}, "0.5, which is no whole number"),
        ({"labels": np.where(np.arange(20) == 3, np.nan, 1.0)}, "nan, which is no whole number"),
        ({"labels": np.array(["a", "b"] * 10)}, "type <U1"),
        ({"labels": np.eye(20)}, "one for each image"),
        ({"labels": np.arange(19) % 2}, "20 images and 19 labels"),
        ({"labels": None}, "no array 'labels'"),
        ({"images": None}, "no array 'images'"),
        ({"images": np.zeros((20, 8), dtype=np.uint8)}, r"shape \(20, 8\)"),
        ({"images": np.zeros((20, 8, 8, 9), dtype=np.uint8)}, r"shape \(20, 8, 8, 9\)"),
        ({"images": np.zeros((20, 8, 8, 2), dtype=np.uint8)}, "2 channels; the networks read 3"),
        ({"images": np.zeros((20, 8, 8, 3), dtype=np.int32)}, "type int32"),
        ({"images": np.full((20, 8, 8, 3), np.inf)}, "not finite"),
        ({"images": np.zeros((20, 0, 8, 3))}, "without pixels"),
        ({"images": np.zeros((2, 8, 8, 3)), "labels": np.arange(2)}, "too few images"),
        ({"test_labels": ONE}, "one of test_images and test_labels"),
        ({"test_labels": ONE + 7, "test_images": np.zeros((20, 8, 8, 3))}, "class 7, and none to learn"),
        ({"images": np.array([{}] * 20, dtype=object)}, "cannot read"),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(tmp_path, arrays, words):
    name = npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidData, match=words) as caught:
        data.load(name, COLOUR, seed=0)
    assert caught.value.hint


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "npy"])
def test_a_file_that_holds_no_arrays_is_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    npz(path)
    alone = io.BytesIO()
    np.save(alone, ONE)
    contents = {"cut": path.read_bytes()[:700], "text": b"hello", "empty": b"", "npy": alone.getvalue()}
    path.write_bytes(contents[damage])
    with pytest.raises(InvalidData, match="cannot read") as caught:
        data.load(str(path), COLOUR, seed=0)
    assert caught.value.hint


# -- data sets of torch


class Shades(torch.utils.data.Dataset):
    """Bright and dark images."""

    def __init__(self, count=20, seed=0, change=lambda image, label: (image, label)):
        self.images = torch.from_numpy(np.random.default_rng(seed).random((count, 3, 8, 8), dtype=np.float32))
        self.change = change

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.change(self.images[number], number % 2)


def test_a_data_set_of_torch_is_read_once_and_known_by_its_content():
    name = data.named(Shades())
    assert name == data.named(Shades()) != data.named(Shades(seed=1))
    assert name.endswith(data.fingerprint(name))
    found = data.load(name, COLOUR, seed=0)
    assert [len(part) for part in parts(found)] == [12, 4, 4]
    rows = torch.cat([part.inputs for part in parts(found)]).flatten(1)
    assert len({bytes(row.numpy()) for row in rows}) == 20
    apart = data.load(data.named((Shades(), Shades(7, seed=3))), COLOUR, seed=0)
    assert [len(part) for part in parts(apart)] == [16, 4, 7]
    pictures = data.named(Shades(change=lambda image, label: (Image.new("RGB", (9, 9), (label, 5, 5)), label)))
    assert data.load(pictures, COLOUR, seed=0).train.inputs.shape == (12, 3, 8, 8)
    assert data.named("digits") == "digits" and data.named(None) is None


def test_a_data_set_of_another_process_is_asked_for_again():
    with pytest.raises(UsageError, match="from Python") as caught:
        data.load("dataset:Shades-0123456789abcdef", COLOUR, seed=0)
    assert "data=" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Shades(0), "no images"),
        (Shades(change=lambda image, label: image), "no image with its class"),
        (Shades(change=lambda image, label: (image, [1, 2])), "no image with its class"),
        (Shades(change=lambda image, label: (image + torch.rand(1), label)), "another image each time"),
        (Shades(change=lambda image, label: (image[:, : 4 + 2 * label], label)), "of the shapes"),
        (iter([1]), "cannot be counted"),
        (7, "cannot be counted"),
    ],
)
def test_objects_that_are_no_data_sets_are_refused(given, words):
    with pytest.raises(HwnasError, match=words) as caught:
        data.named(given)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image, label: (image, 0), "1 classes"),
        (lambda image, label: (image, label / 2), "no whole number"),
        (lambda image, label: (image[:2], label), "2 channels"),
    ],
)
def test_data_sets_that_cannot_be_learned_from_are_refused(change, words):
    with pytest.raises(InvalidData, match=words):
        data.load(data.named(Shades(change=change)), COLOUR, seed=0)


# -- text


def test_a_text_is_cut_into_pieces_that_share_nothing_and_targets_are_the_next_bytes(tmp_path):
    path = tmp_path / "a.txt"
    text = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8)
    path.write_bytes(text.tobytes())
    found = data.load(f"text:{path}", TEXT, seed=0)
    assert found.task == Tokens(256)
    assert [len(part) for part in parts(found)] == [39, 10, 13]
    whole = torch.cat([part.inputs for part in parts(found)])
    wanted = torch.cat([part.targets for part in parts(found)])
    assert whole.flatten().tolist() == text[: 62 * 16].tolist()
    assert wanted.flatten().tolist() == text[1 : 62 * 16 + 1].tolist()
    few = data.load(f"text:{path}", TEXT, seed=5, limit=3)
    assert [len(part) for part in parts(few)] == [3, 3, 3]
    assert torch.equal(few.test.inputs, found.test.inputs[:3])


def test_a_small_vocabulary_has_the_frequent_bytes_of_the_training_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"aaaabbbccd" * 60 + b"zzzzzzzzzz" * 40)
    found = data.load(f"text:{path}", Wanted((1, 10), 4), seed=0)
    assert found.task.outputs == 4
    assert found.train.inputs[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 3, 0]
    assert set(found.test.inputs.flatten().tolist()) == {0}, "what training does not have is another byte"
    assert data.load(f"text:{path}", Wanted((1, 10), 1024), seed=0).task.outputs == 1024


def test_the_text_that_is_always_there():
    found = data.load("text", Wanted((1, 64)), seed=0)
    assert len(found.train) > 1000
    assert b"Python" in bytes(found.train.inputs.flatten().to(torch.uint8).numpy())
    assert len(data.fingerprint("text")) == 16


def test_a_text_that_is_shorter_than_its_sequences_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 48)
    with pytest.raises(InvalidData, match=r"48 bytes, too few.*sequences of 16") as caught:
        data.load(f"text:{path}", TEXT, seed=0)
    path.write_bytes(b"a" * 49)
    assert "49 bytes" in caught.value.hint
    assert [len(part) for part in parts(data.load(f"text:{path}", TEXT, seed=0))] == [1, 1, 1]


# -- pairs


def test_pairs_are_read_behind_their_beginning_and_up_to_their_end(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("".join(f"s{i}\tt{i % 10}x\n" for i in range(40)).encode() + b"\ns1\tt1x\n")
    found = data.load(f"pairs:{path}", PAIRS, seed=0)
    assert found.task == Tokens(259)
    assert sum(map(len, parts(found))) == 40, "what is there twice counts once"
    texts = []
    for part in parts(found):
        for (source, given), wanted in zip(part.inputs.tolist(), part.targets.tolist(), strict=True):
            end, last = source.index(_END), wanted.index(_END)
            assert set(source[end + 1 :]) <= {_FILL} and set(wanted[last + 1 :]) == {IGNORED}
            assert given[0] == _BEGIN and given[1 : last + 1] == wanted[:last]
            texts.append((bytes(token - 3 for token in source[:end]), bytes(token - 3 for token in wanted[:last])))
    assert sorted(texts) == sorted((f"s{i}".encode(), f"t{i % 10}x".encode()) for i in range(40))
    assert not torch.equal(data.load(f"pairs:{path}", PAIRS, seed=1).test.inputs, found.test.inputs)


def test_all_pairs_of_one_source_are_in_one_part(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"s{i % 12}\tt{i}\n" for i in range(60)))
    found = data.load(f"pairs:{path}", PAIRS, seed=0)
    sources = [{tuple(row) for row in part.inputs[:, 0].tolist()} for part in parts(found)]
    assert sum(map(len, sources)) == 12 == len(set.union(*sources))


def test_the_pairs_that_are_always_there_are_words_and_the_same_backwards():
    found = data.load("pairs", Wanted((1, 2, 16), 32), seed=0)
    assert len(found.train) > 2000
    for (source, _), wanted in zip(found.test.inputs.tolist(), found.test.targets.tolist(), strict=True):
        assert source[: source.index(_END)] == wanted[: wanted.index(_END)][::-1]
    small = data.load("pairs", Wanted((1, 2, 6), 8), seed=0)
    assert small.train.inputs.max() < 8 and small.task.outputs == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\nc\n", "line 2: 1 columns"),
        ("a\tb\tc\n", "line 1: 3 columns"),
        ("a\t\n", "line 1: 2 columns"),
        ("a\tb\na\t1234567890\n", "line 2: 10 bytes, and there is room for 9"),
        ("", "0 sources"),
        ("a\tb\nc\td\na\te\n", "2 sources"),
    ],
)
def test_pairs_that_cannot_be_learned_from_are_refused(tmp_path, text, words):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(InvalidData, match=words) as caught:
        data.load(f"pairs:{path}", PAIRS, seed=0)
    assert caught.value.hint


# -- what has changed


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    def write(name, change):
        place = tmp_path / name
        place.mkdir()
        archive(place / "a.tar", members(3 + change))
        npz(place / "a.npz", labels=(np.arange(20) + change) % 2)
        (place / "a.txt").write_text(f"text {change}")
        (place / "a.tsv").write_text(f"a\t{change}\n")
        for label in ("cat", "dog"):
            (place / "images" / label).mkdir(parents=True)
            (place / "images" / label / "0.png").write_bytes(b"as large" if change else b"as small")
        return [
            str(place / "a.tar"),
            str(place / "a.npz"),
            f"text:{place / 'a.txt'}",
            f"pairs:{place / 'a.tsv'}",
            str(place / "images"),
        ]

    for one, same, other in zip(write("one", 0), write("same", 0), write("other", 1), strict=True):
        assert data.fingerprint(one) == data.fingerprint(one) != data.fingerprint(other)
        if not one.endswith((".tar", ".npz")):  # those hold times
            assert data.fingerprint(one) == data.fingerprint(same)
    assert data.fingerprint("digits") == ""


# -- scores


def test_scores_of_classes_by_hand():
    task, logits = Classification(3), torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 5, 1], [1, 0, 0]])
    value, low, high = task.summary(*task.score(logits, torch.tensor([0, 1, 2, 0])))
    assert value == 0.75 and low < 0.75 < high
    assert task.loss(logits, torch.tensor([0, 1, 2, 0]), 0.1) != task.loss(logits, torch.tensor([0, 1, 2, 0]))


def test_perplexity_by_hand():
    task, targets = Tokens(4), torch.tensor([[0, 1, IGNORED], [3, IGNORED, IGNORED]])
    assert task.summary(*task.score(torch.zeros(2, 3, 4), targets)) == pytest.approx((4.0, 4.0, 4.0))
    share = torch.tensor([[[0.5, 0.25, 0.125, 0.125]] * 3, [[0.25] * 4] * 3])
    value, low, high = task.summary(*task.score(share.log(), targets))
    assert value == pytest.approx((2 * 4 * 4) ** (1 / 3)) and low < value < high
    mean = -torch.tensor([0.5, 0.25, 0.25]).log().mean()
    assert task.loss(share.log(), targets) == pytest.approx(float(mean))


# -- augmentation


def test_augmentation_by_name():
    assert parse("cutout, flip") == ("flip", "cutout") and parse("") == ()
    with pytest.raises(UnknownName, match="rotate"):
        parse("flip,rotate")


def test_images_are_flipped_moved_and_lose_a_square():
    images = torch.arange(1, 33 * 16 * 16 * 2 + 1, dtype=torch.float32).reshape(66, 1, 16, 16)

    def changed(name, seed=0):
        return augment(images, (name,), np.random.default_rng(seed))

    flipped = changed("flip")
    same = (flipped == images).flatten(1).all(dim=1)
    assert 15 < int(same.sum()) < 51
    assert torch.equal(flipped[~same], images[~same].flip(3))
    places = set()
    for before, after in zip(images[:, 0], changed("crop")[:, 0], strict=True):
        moved = torch.nn.functional.pad(before, (2, 2, 2, 2))
        places |= {(y, x) for y in range(5) for x in range(5) if torch.equal(moved[y : y + 16, x : x + 16], after)}
    assert len(places) > 15
    cut = changed("cutout")
    hole = cut == 0
    assert torch.equal(cut[~hole], images[~hole])
    assert hole.flatten(1).sum(dim=1).min() >= 16 and hole.flatten(1).sum(dim=1).max() == 64
    assert torch.equal(changed("crop", 3), changed("crop", 3)) and not torch.equal(changed("crop", 3), changed("crop"))
