"""Which image belongs to which row: by name, whatever else lies in the folder."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from tinybrain.things.images import image_table, list_images, named_images

# In the order in which the recording showed them, which `sorted` does not give (camera_lens).
ROWS = [
    ("00001_camera_lens", "camera_lens_02s.jpg"),
    ("00001_camera_lens", "camera_lens_11b.jpg"),
    ("00002_camera1", "camera1_01b.jpg"),
    ("00010_aardvark", "aardvark_01b.jpg"),
]


def things(root: Path, rows=ROWS, *, images="Image_set/training_images", table=True) -> Path:
    """A miniature image set; the files are empty, since only names count here."""
    for concept, file in rows:
        path = root / images / concept / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if table:
        write_table(root / Path(images).parent / "image_metadata.npy", ROWS)
    return root


def write_table(path: Path, rows, split="train", **other) -> None:
    concepts, files = zip(*rows)
    content = {f"{split}_img_concepts": list(concepts), f"{split}_img_files": list(files)} | other
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, content, allow_pickle=True)


def names(table):
    return [(path.parent.name, path.name) for path in table.paths]


@pytest.mark.parametrize(
    "images",
    ["Image_set/training_images", "image_set/train_images", "images_set/Training_Images"],
)
@pytest.mark.parametrize("inside", ["", "Preprocessed_data_250Hz", "eeg_dataset/pre/sub-01"])
def test_finds_the_folder_in_any_capitals_from_within(tmp_path, images, inside):
    root = things(tmp_path, images=images)
    (root / inside).mkdir(parents=True, exist_ok=True)
    table = image_table(root / inside, "train", 4)
    assert names(table) == ROWS and all(path.is_file() for path in table.paths)
    assert table.concepts == tuple(concept for concept, _ in ROWS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.paths = ()


def test_order_is_the_tables_and_never_the_folders(tmp_path):
    things(tmp_path)
    shuffled = [ROWS[i] for i in (3, 1, 0, 2)]
    write_table(tmp_path / "Image_set/image_metadata.npy", shuffled)
    assert names(image_table(tmp_path, "train", 4)) == shuffled


def test_missing_images_are_listed_and_shift_nothing(tmp_path):
    things(tmp_path, ROWS[:1] + ROWS[3:])
    with pytest.raises(FileNotFoundError) as caught:
        image_table(tmp_path, "train", 4)
    message = str(caught.value)
    assert "2 of 4" in message and "training_images" in message
    assert "00001_camera_lens/camera_lens_11b.jpg, 00002_camera1/camera1_01b.jpg" in message


def test_surplus_images_are_reported_and_shift_nothing(tmp_path):
    extra = [("00000_first", "first_01b.jpg"), ("00002_camera1", "camera1_00a.jpg")]
    table = image_table(things(tmp_path, ROWS + extra), "train", 4)
    assert names(table) == ROWS
    assert "2 images there belong to no row" in table.source
    assert "first_01b.jpg" in table.source and "camera1_00a.jpg" in table.source


def test_capitals_and_leading_zeros_on_disk_do_not_matter(tmp_path):
    here = [("1_Camera_Lens", "CAMERA_LENS_02s.JPG"), ("1_Camera_Lens", "camera_lens_11b.jpg")]
    table = image_table(things(tmp_path, here + ROWS[2:]), "train", 4)
    assert names(table) == here + ROWS[2:]
    assert table.concepts[0] == "00001_camera_lens", "concepts are named as in the table"


@pytest.mark.parametrize("wrong", ["00007_camera1", "00002_camera", "camera"])
def test_name_and_number_if_any_must_agree(tmp_path, wrong):
    things(tmp_path, [*ROWS[:2], (wrong, "camera1_01b.jpg"), *ROWS[3:]])
    with pytest.raises(FileNotFoundError, match="00002_camera1/camera1_01b.jpg") as caught:
        image_table(tmp_path, "train", 4)
    other = "other numbers of concepts (7 for 00002_camera1/camera1_01b.jpg)"
    assert (other in str(caught.value)) == (wrong == "00007_camera1")


# The concepts of THINGS that `sorted` puts elsewhere than THINGS does, in THINGS' order (names
# with spaces for underscores), which is no order of their folders.
TRAP = (
    "camera_lens", "camera1", "camera2", "chicken_wire", "chicken1", "chicken2", "crystal_ball",
    "crystal1", "crystal2", "hot_chocolate", "hot_tub", "hot-air_balloon", "hot-water_bottle",
    "ice_cream", "ice_cube", "ice_pack", "ice-cream_cone", "pepper_mill", "pepper1", "pepper2",
)  # fmt: skip
TRAP_ROWS = [
    (f"{number:05d}_{concept}", f"{concept}_{exemplar:02d}{'bs'[exemplar > 1]}.jpg")
    for number, concept in enumerate(TRAP, start=1)
    for exemplar in (1, 2)
]


@pytest.mark.parametrize("order", [1, -1])
def test_folders_without_numbers_are_aligned_by_name(tmp_path, order):
    """The sorting trap: THINGS' own folders have names that sort in another order than THINGS."""
    assert list(TRAP) == sorted(TRAP, key=lambda name: name.replace("_", " ")) != sorted(TRAP)
    rows = TRAP_ROWS[::order]
    more = [("camera1", "camera1_03s.jpg"), ("candelabra", "candelabra_01b.jpg")]
    things(tmp_path, [(concept[6:], file) for concept, file in TRAP_ROWS] + more, table=False)
    write_table(tmp_path / "Image_set/image_metadata.npy", rows)
    table = image_table(tmp_path, "train", 40)
    assert [path.name for path in table.paths] == [file for _, file in rows]
    assert [path.parent.name for path in table.paths] == [concept[6:] for concept, _ in rows]
    assert table.concepts == tuple(concept for concept, _ in rows)
    assert "2 images there belong to no row" in table.source


def test_folders_without_numbers_and_without_a_table_are_refused(tmp_path):
    things(tmp_path, [(concept[6:], file) for concept, file in TRAP_ROWS], table=False)
    with pytest.raises(ValueError, match=r"without numbers \(camera1, .*image_metadata.npy"):
        image_table(tmp_path, "train", 40)


def test_folders_numbered_in_sorted_order_are_refused_for_all_concepts_of_the_trap(tmp_path):
    """Somebody numbered the folders by `sorted`; the table has THINGS' order, or the reverse."""
    number = {concept: i for i, concept in enumerate(sorted(TRAP), start=1)}
    here = [(f"{number[concept[6:]]:05d}_{concept[6:]}", file) for concept, file in TRAP_ROWS]
    things(tmp_path, here, table=False)
    write_table(tmp_path / "Image_set/image_metadata.npy", TRAP_ROWS)
    with pytest.raises(FileNotFoundError, match=r"other numbers of concepts \(3 for 00001_camera_"):
        image_table(tmp_path, "train", 40)


def test_a_numbered_folder_goes_before_one_without_a_number(tmp_path):
    table = image_table(things(tmp_path, [*ROWS, ("camera1", "camera1_01b.jpg")]), "train", 4)
    assert names(table) == ROWS and "1 images there belong to no row" in table.source


def test_a_name_without_number_that_two_folders_have(tmp_path):
    things(tmp_path, [*ROWS, ("00009_camera1", "camera1_01b.jpg")])
    assert names(named_images(tmp_path, "train", ROWS)) == ROWS
    with pytest.raises(FileNotFoundError, match="1 of 1 images .*other numbers of concepts"):
        named_images(tmp_path, "train", [("camera1", "camera1_01b.jpg")])


@pytest.mark.parametrize("bare", [True, False])
def test_a_recording_that_names_its_images(tmp_path, bare):
    rows = [(concept[6:] if bare else concept, file) for concept, file in ROWS[::-1]]
    table = named_images(tmp_path, "train", rows, "train.pt")
    assert names(table) == rows and "names from train.pt; the images are not" in table.source
    assert table.paths[0].parents[1] == tmp_path / "Image_set/training_images"
    things(tmp_path, rows)
    table = named_images(tmp_path / "Preprocessed/sub-01", "train", rows, "a/train.pt")
    assert names(table) == rows and all(path.is_file() for path in table.paths)
    assert "by name from train.pt" in table.source
    (tmp_path / "Image_set/training_images").rename(tmp_path / "elsewhere")
    things(tmp_path, ROWS)  # numbered, whatever the names are
    table = named_images(tmp_path, "train", rows)
    assert [path.name for path in table.paths] == [file for _, file in rows]
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images named in a/train.pt .*: x/y.jpg"):
        named_images(tmp_path, "train", [*rows, ("x", "y.jpg")], "a/train.pt")


def test_two_files_that_differ_in_capitals_only(tmp_path):
    things(tmp_path, [*ROWS, ("00002_camera1", "Camera1_01b.jpg")])
    if len(os.listdir(tmp_path / "Image_set/training_images/00002_camera1")) == 2:
        with pytest.raises(ValueError, match="capitals"):
            image_table(tmp_path, "train", 4)


def test_without_a_table_the_order_is_sorted(tmp_path):
    table = image_table(things(tmp_path, ROWS[::-1], table=False), "train", 4)
    assert names(table) == ROWS
    assert table.concepts == tuple(concept for concept, _ in ROWS) and "sorted" in table.source


def test_without_a_table_bare_concept_names_are_refused(tmp_path):
    things(tmp_path, [("camera1", "camera1_01b.jpg")], table=False)
    with pytest.raises(ValueError, match=r"training_images: .*without numbers \(camera1\)"):
        image_table(tmp_path, "train", 1)


def test_without_images_the_names_are_known(tmp_path):
    table = image_table(things(tmp_path, [], table=True), "train", 4)
    assert names(table) == ROWS and not any(path.exists() for path in table.paths)
    assert "images are not there" in table.source


def test_with_neither_it_says_what_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Image_set.*image_metadata.npy"):
        image_table(tmp_path / "a/b/c/d", "test", 4)


@pytest.mark.parametrize("table", [True, False])
def test_another_number_of_rows_is_refused_with_both_counts(tmp_path, table):
    with pytest.raises(ValueError, match=r"4 train images, but the recording has 5 rows"):
        image_table(things(tmp_path, table=table), "train", 5)


def test_the_splits_are_kept_apart(tmp_path):
    test_rows = [("00001_zebra", "zebra_01b.jpg")]
    things(things(tmp_path), test_rows, images="Image_set/test_images", table=False)
    with pytest.raises(ValueError, match="image_metadata.npy: wanted a dict with test_img_concep"):
        image_table(tmp_path, "test", 1)
    (tmp_path / "Image_set/image_metadata.npy").unlink()
    assert names(image_table(tmp_path, "test", 1)) == test_rows


def test_two_image_sets_are_ambiguous(tmp_path):
    things(things(tmp_path), images="images_set/train_images", table=False)
    with pytest.raises(ValueError, match=r"several.*Image_set.*images_set"):
        image_table(tmp_path, "train", 4)


@pytest.mark.parametrize(
    ("concepts", "files"),
    [
        (["a", "b"], ["a.jpg"]),
        (["../a"], ["a.jpg"]),
        ([".."], ["a.jpg"]),
        (["a"], ["/etc/passwd"]),
        (["a"], [1.5]),
        ("a", ["a.jpg"]),
        (np.zeros(2), ["a.jpg"]),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path, concepts, files):
    content = {"train_img_concepts": concepts, "train_img_files": files}
    np.save(tmp_path / "image_metadata.npy", content, allow_pickle=True)
    with pytest.raises(ValueError, match="image_metadata.npy"):
        image_table(tmp_path, "train", 1)


def test_list_images_of_folders_and_lists(tmp_path):
    things(tmp_path, images="pictures", table=False)
    (tmp_path / "pictures/notes.txt").touch()
    (tmp_path / "pictures/._hidden.jpg").touch()
    sorted_paths = tuple(tmp_path / "pictures" / concept / file for concept, file in ROWS)
    assert list_images(tmp_path / "pictures") == sorted_paths
    assert list_images(str(sorted_paths[2])) == sorted_paths[2:3]
    assert list_images(sorted_paths[::-1]) == sorted_paths[::-1], "a list keeps its order"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no images.* \.jpg, .*\.tif or \.tiff$"):
        list_images(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        list_images([sorted_paths[0], tmp_path / "gone.jpg"])
