"""Images: digits and folders, split, normalised and brought to a space's input."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from device_profiles.errors import HwnasError, InvalidData, UsageError
from nas.weights import images as data

GREY, COLOUR = (1, 1, 8, 8), (1, 3, 8, 8)


def splits(images):
    return images.train, images.valid, images.test


def same(one, other):
    pairs = zip(splits(one), splits(other), strict=True)
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


def pictures(folder, count, colour, *, mode="RGB", size=(8, 8), suffix=".png"):
    """Pictures around one colour, each a little different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shade = tuple(part + number for part in colour)
        Image.new("RGB", size, shade).convert(mode).save(folder / f"{number:02}{suffix}")


@pytest.fixture
def folder(tmp_path):
    """Two classes with 20 pictures to train and 5 to test."""
    for part, count in (("train", 20), ("test", 5)):
        pictures(tmp_path / part / "cat", count, (200, 20, 20))
        pictures(tmp_path / part / "dog", count, (20, 20, 200))
    return tmp_path


# -- digits


def test_digits_are_split_into_three_that_share_no_image_and_lose_none():
    images = data.load("digits", GREY, seed=0)
    assert [len(split) for split in splits(images)] == [1149, 288, 360]
    assert (images.name, images.classes) == ("digits", 10)
    raw = (load_digits().images * (255.0 / 16.0)).astype(np.uint8).reshape(1797, -1)
    rows = torch.cat([split.images for split in splits(images)]).reshape(1797, -1).numpy()
    step = (rows.max() - rows.min()) / 255
    back = np.rint((rows - rows.min()) / step).astype(np.uint8)
    assert sorted(map(bytes, back)) == sorted(map(bytes, raw))
    labels = torch.cat([split.labels for split in splits(images)])
    assert np.bincount(labels).tolist() == np.bincount(load_digits().target).tolist()


def test_digits_keep_their_labels():
    images = data.load("digits", GREY, seed=3)
    known = dict(zip(map(bytes, load_digits().images.astype(np.uint8)), load_digits().target, strict=True))
    rows = images.train.images[:, 0].numpy()
    back = np.rint((rows - rows.min()) / (rows.max() - rows.min()) * 16).astype(np.uint8)
    assert [known[bytes(row)] for row in back] == images.train.labels.tolist()


def test_the_split_depends_on_the_seed_alone():
    np.random.seed(5)  # noqa: NPY002 - what others do to the global generator changes nothing
    torch.manual_seed(5)
    first = data.load("digits", GREY, seed=1)
    assert same(first, data.load("digits", GREY, seed=1))
    assert not torch.equal(first.test.labels, data.load("digits", GREY, seed=2).test.labels)


def test_training_images_alone_set_the_normalisation():
    images = data.load("digits", GREY, seed=0)
    assert float(images.train.images.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(images.train.images.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(images.valid.images.mean())) > 1e-4
    assert images.train.images.dtype == torch.float32
    assert images.train.labels.dtype == torch.int64


def test_grey_images_are_repeated_over_channels_and_resized_bilinearly():
    grey, colour = data.load("digits", GREY, seed=0), data.load("digits", COLOUR, seed=0)
    assert torch.equal(colour.valid.images, grey.valid.images.repeat(1, 3, 1, 1))
    large = data.load("digits", (1, 1, 16, 12), seed=0).valid.images
    assert large.shape == (288, 1, 16, 12)
    expected = torch.nn.functional.interpolate(grey.valid.images, size=(16, 12), mode="bilinear", align_corners=False)
    assert torch.equal(large, expected)


def test_a_limit_keeps_the_first_images_of_each_split():
    whole, few = data.load("digits", GREY, seed=0), data.load("digits", GREY, seed=0, limit=300)
    assert [len(split) for split in splits(few)] == [300, 288, 300]
    for kept, split in zip(splits(few), splits(whole), strict=True):
        assert torch.equal(kept.images, split.images[:300])
        assert torch.equal(kept.labels, split.labels[:300])


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_leaves_nothing_is_refused(limit):
    with pytest.raises(HwnasError):
        data.load("digits", GREY, seed=0, limit=limit)


# -- folders


def test_a_folder_with_its_own_test_images(folder):
    images = data.load(str(folder), COLOUR, seed=0)
    assert [len(split) for split in splits(images)] == [32, 8, 10]
    assert (images.name, images.classes) == (str(folder), 2)
    for split in splits(images):
        red, blue = split.images[:, 0].mean(dim=(1, 2)), split.images[:, 2].mean(dim=(1, 2))
        assert ((blue > red).long() == split.labels).all(), "classes are numbered in the order of their names"
    assert same(images, data.load(str(folder), COLOUR, seed=0))
    assert not same(images, data.load(str(folder), COLOUR, seed=1))


def test_a_folder_without_test_images_is_split(tmp_path):
    pictures(tmp_path / "a", 30, (0, 0, 0))
    pictures(tmp_path / "b", 20, (200, 200, 200))
    images = data.load(str(tmp_path), COLOUR, seed=0)
    assert [len(split) for split in splits(images)] == [32, 8, 10]
    rows = torch.cat([split.images for split in splits(images)]).mean(dim=(1, 2, 3))
    assert len(set(rows.tolist())) == 50


def test_test_images_do_not_set_the_normalisation(folder):
    before = data.load(str(folder), COLOUR, seed=0)
    for path in folder.glob("test/*/*"):
        Image.new("RGB", (8, 8), (255, 255, 255)).save(path)
    after = data.load(str(folder), COLOUR, seed=0)
    assert torch.equal(before.train.images, after.train.images)
    assert torch.equal(before.valid.images, after.valid.images)
    assert after.test.images.unique().numel() == 3, "one shade in each channel"
    assert before.train.images.mean(dim=(0, 2, 3)).numpy() == pytest.approx(np.zeros(3), abs=1e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_every_mode_are_read(tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    pictures(tmp_path / "dark", 10, (0, 0, 0), mode=mode, suffix=suffix)
    pictures(tmp_path / "light", 10, (240, 240, 240), mode=mode, suffix=suffix)
    images = data.load(str(tmp_path), COLOUR, seed=0)
    assert images.train.images.shape == (12, 3, 8, 8)
    light = images.train.images.mean(dim=(1, 2, 3)) > 0
    assert (light.long() == images.train.labels).all()


def test_colours_are_averaged_for_a_space_of_one_channel(folder):
    grey, colour = data.load(str(folder), GREY, seed=0), data.load(str(folder), COLOUR, seed=0)
    assert torch.allclose(grey.train.images, colour.train.images.mean(dim=1, keepdim=True))


def test_pictures_of_other_sizes_are_resized(tmp_path):
    for size, name in (((5, 9), "a"), ((64, 32), "b")):
        pictures(tmp_path / name, 10, (9 * len(name), 50, 90), size=size, suffix=".JPG")
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    images = data.load(str(tmp_path), (1, 3, 12, 16), seed=0)
    assert images.train.images.shape == (12, 3, 12, 16)
    assert sum(len(split) for split in splits(images)) == 20


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "wrong checksum"])
def test_a_picture_that_cannot_be_read_is_named(folder, damage):
    path = folder / "train" / "dog" / "03.png"
    content = path.read_bytes()
    wrong = bytearray(content)
    wrong[45] ^= 0xFF
    path.write_bytes({"empty": b"", "text": b"hello", "cut": content[:50], "wrong checksum": bytes(wrong)}[damage])
    with pytest.raises(InvalidData, match=r"03\.png") as caught:
        data.load(str(folder), COLOUR, seed=0)
    assert caught.value.hint
    assert caught.value.exit_code == 4


def test_a_folder_that_is_not_there_is_a_wrong_request(tmp_path):
    for name in (tmp_path / "nowhere", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="no image folder") as caught:
            data.load(str(name), COLOUR, seed=0)
        assert "digits" in caught.value.hint


def test_one_class_is_none(tmp_path):
    with pytest.raises(InvalidData, match="0 class folders"):
        data.load(str(tmp_path), COLOUR, seed=0)
    pictures(tmp_path / "train" / "only", 5, (0, 0, 0))
    with pytest.raises(InvalidData, match="1 class folders; at least 2"):
        data.load(str(tmp_path), COLOUR, seed=0)


def test_a_folder_without_pictures_says_what_is_accepted(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.tiff").write_bytes(b"")
    with pytest.raises(InvalidData, match="no images") as caught:
        data.load(str(tmp_path), COLOUR, seed=0)
    assert ".png" in caught.value.hint


def test_too_few_pictures_to_be_split_are_refused(tmp_path):
    for name in ("a", "b"):
        pictures(tmp_path / name, 1, (0, 0, 0))
    with pytest.raises(InvalidData, match="too few"):
        data.load(str(tmp_path), COLOUR, seed=0)


def test_a_class_that_has_no_folder_of_test_images_is_no_crash(folder):
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()
    (folder / "test" / "dog").rmdir()
    try:
        images = data.load(str(folder), COLOUR, seed=0)
    except HwnasError as error:
        assert "dog" in str(error)
    else:
        assert images.test.labels.tolist() == [0] * 5
