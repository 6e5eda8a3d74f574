"""Trial tables of THINGS-MEG: every form says the same, and rows come in the documented orders."""

import csv

import numpy as np
import pytest

from tests import meg_miniature as mini
from tinybrain.things.meg import images as meg_images
from tinybrain.things.meg import order as meg_order
from tinybrain.things.meg import trials as meg_trials
from tinybrain.things.meg.tested import TEST_CONCEPTS, TEST_EXEMPLARS, TEST_IMAGES

ROWS = mini.records()


@pytest.fixture
def table(tmp_path):
    mini.write_table(tmp_path / "sample_attributes_P1.csv", ROWS)
    return meg_trials.read_trials(tmp_path / "sample_attributes_P1.csv")


def write_events(folder, rows, version):
    """events.tsv of each run; version 1 has names, version 2 sample numbers and no test numbers."""
    columns = {
        1: ["trial_type", "file_path", "test_image_nr", "things_category_nr", "things_image_nr",
            "things_exemplar_nr"],
        2: ["onset", "trial_type", "things_category_nr", "value", "sample"],
    }[version]  # fmt: skip
    runs = {}
    for at, row in enumerate(rows):
        more = {"file_path": row["image_path"], "value": row.get("things_image_nr", ""),
                "sample": 1000 + at}  # fmt: skip
        runs.setdefault((row["session_nr"], row["run_nr"]), []).append(row | more)
    for (session, run), part in runs.items():
        meg = folder / "sub-BIGMEG1" / f"ses-{session:02d}" / "meg"
        meg.mkdir(parents=True, exist_ok=True)
        file = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}_events.tsv"
        (meg / f"._{file}").write_bytes(b"\0\5\x16\7")
        with open(meg / file, "w", newline="") as text:
            tsv = csv.DictWriter(text, columns, delimiter="\t", extrasaction="ignore", restval="")
            tsv.writeheader()
            tsv.writerows(part)
    return folder / "sub-BIGMEG1"


def names(trials, rows):
    return trials.image[rows].tolist()


def test_rows_of_a_table_by_brute_force(table):
    assert [(table.kind == kind).sum() for kind in ("exp", "test", "catch")] == [48, 24, 2]
    assert names(table, meg_trials.training_rows(table, False)) == mini.TRAIN_NAMES
    assert names(table, meg_trials.training_rows(table)) == mini.KEPT_NAMES
    for order, wanted in (("image", mini.BY_IMAGE), ("presentation", mini.PRESENTED)):
        rows = meg_trials.test_rows(table, order)
        assert [sorted(set(names(table, row))) for row in rows] == [[name] for name in wanted]
        assert (table.session[rows] == np.arange(1, 13)).all()


@pytest.mark.parametrize("version", [1, 2])
def test_events_of_a_subject_folder_say_the_same_as_sample_attributes(tmp_path, table, version):
    # Sorted by session and run, as the files are; sessions of the table are in order already.
    order = np.lexsort((np.arange(len(table)), table.run, table.session))
    wanted = table[order]
    folder = write_events(tmp_path, [ROWS[i] for i in order], version)
    came = meg_trials.read_trials(folder)
    for field in ("kind", "image_number", "concept_number", "exemplar", "test_number", "session"):
        assert (getattr(came, field) == getattr(wanted, field)).all(), field
    if version == 1:
        assert (came.image == wanted.image).all()
    else:
        assert (came.sample == 1000 + np.arange(len(came))).all()


def test_one_run_and_its_place(tmp_path):
    folder = write_events(tmp_path, ROWS, 1)
    file = max(folder.rglob("sub*events.tsv"))
    trials = meg_trials.read_trials(file)
    assert set(trials.session.tolist()) == {12} and set(trials.run.tolist()) == {2}


def test_codes_of_all_images_tell_concepts_and_exemplars():
    # Concepts of 12 images and of more, as in THINGS; a test image is the last of its concept.
    sizes = np.random.default_rng(0).choice([13, 14, 20], 1854)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]]) + 1
    exp = (first[:, None] + np.arange(12)).ravel()
    tests = (first + sizes - 1)[[4, 1853]]
    codes = np.concatenate([exp, np.repeat(tests, 12), [999999] * 3])
    order = np.random.default_rng(1).permutation(len(codes))
    trials = meg_order.trials_from_codes(codes[order])
    place = np.argsort(order)  # of each code among the trials
    assert (trials.concept_number[place[:22248]] == np.repeat(np.arange(1, 1855), 12)).all()
    assert (trials.exemplar[place[:22248]] == np.tile(np.arange(1, 13), 1854)).all()
    assert (trials.concept_number[place[22248:22272]] == np.repeat([5, 1854], 12)).all()
    assert (trials.kind[place[22272:]] == "catch").all()
    rows = meg_trials.training_rows(trials)
    assert len(rows) == 22248 - 24 and not np.isin(trials.concept_number[rows], [5, 1854]).any()


def test_codes_of_two_subjects_are_refused():
    with pytest.raises(ValueError, match="image 7 comes 2 times"):
        meg_order.trials_from_codes([7, 7, 8, 999999])


def test_the_200_test_images():
    assert len(set(TEST_IMAGES)) == len(set(TEST_CONCEPTS)) == len(TEST_EXEMPLARS) == 200
    # Two alphabetical halves, and concepts in the order of images.
    for numbers in (TEST_IMAGES, TEST_CONCEPTS):
        for half in (numbers[:100], numbers[100:]):
            assert list(half) == sorted(half)
    assert (np.argsort(TEST_IMAGES) == np.argsort(TEST_CONCEPTS)).all()
    assert min(TEST_EXEMPLARS) == 13 and max(TEST_IMAGES) <= 26107
    trials = meg_order.standard_trials()
    assert len(meg_trials.training_rows(trials, False)) == 22248
    assert len(meg_trials.training_rows(trials)) == 19848
    rows = meg_trials.test_rows(trials, "presentation")
    assert rows.shape == (200, 12) and trials.image_number[rows[:, 0]].tolist() == list(TEST_IMAGES)


def test_a_missing_repetition_and_a_double_image_are_refused(table):
    test = np.flatnonzero(table.kind == "test")
    with pytest.raises(ValueError, match="11 times"):
        meg_trials.test_rows(table[np.delete(np.arange(len(table)), test[0])])
    exp = np.flatnonzero(table.kind == "exp")[:1]
    with pytest.raises(ValueError, match="more than once"):
        meg_trials.training_rows(table[np.append(np.arange(len(table)), exp)], False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "its columns are a, b"),
        ("", "its columns are none"),
        ("trial_type,things_image_nr\nexp,1.5\n", "whole number"),
        ("trial_type,things_image_nr\nexp,-3\n", "whole number"),
        ("trial_type,things_image_nr\nexp,1e400\n", "whole number"),
        ("trial_type,things_image_nr\nrest,1\n", "trial_type 'rest'"),
        ("trial_type,things_image_nr,image_path\nexp,1,../../etc/passwd\n", "no image of THINGS"),
        ("trial_type,things_image_nr\nexp,\0\n", "no table of text|whole number"),
    ],
)
def test_tables_that_cannot_be_understood(tmp_path, text, said):
    (tmp_path / "sample_attributes_P1.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        meg_trials.read_trials(tmp_path / "sample_attributes_P1.csv")


def test_folders_without_tables_or_with_two_subjects(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ses-\*"):
        meg_trials.read_trials(tmp_path)
    folder = write_events(tmp_path, ROWS, 2)
    file = next(folder.rglob("sub*events.tsv"))
    file.rename(file.with_name(file.name.replace("BIGMEG1", "BIGMEG2")))
    with pytest.raises(ValueError, match="several subjects"):
        meg_trials.read_trials(folder)


# Names


def all_names():
    """1,854 made-up concepts, among them the traps of sorting, and 26,107 images, in order."""
    traps = ["camera1", "camera_lens", "hot-air_balloon", "hot_tub", "ice-cream_cone", "ice_cube"]
    concepts = traps + [f"thing_{i:04d}" for i in range(1854 - len(traps))]
    concepts.sort(key=lambda name: name.replace("_", " "))
    many = np.full(1854, 14)
    many[: 26107 - 14 * 1854] += 1
    return [f"{c}/{c}_{j:02d}s.jpg" for c, n in zip(concepts, many) for j in range(1, n + 1)]


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory):
    path = tmp_path_factory.mktemp("things") / "image_paths.csv"
    path.write_text("".join(f"images/{name}\n" for name in all_names()))
    return path


def test_names_by_number_from_image_paths(image_paths):
    wanted = all_names()
    trials = meg_order.trials_from_codes([3, 26107, *[26106] * 12, 999999])
    named = meg_trials.name_images(trials, image_paths)
    assert named.image.tolist() == [wanted[2], wanted[-1], *[wanted[-2]] * 12, ""]
    assert meg_trials.name_images(trials, image_paths.parent).image.tolist() == named.image.tolist()


def test_names_by_exemplar_from_the_experiments_folders(tmp_path):
    """The sorting trap: hot_tub comes before hot-air_balloon, against `sorted`."""
    wanted = [name for name in all_names() if name.split("_")[-1][:2] in ("01", "02")]
    for name in wanted:
        (tmp_path / "images_meg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images_meg" / name).touch()
    trials = meg_order.standard_trials()
    first = np.flatnonzero((trials.kind == "exp") & np.isin(trials.exemplar, (1, 2)))
    assert meg_trials.name_images(trials[first], tmp_path).image.tolist() == wanted
    with pytest.raises(FileNotFoundError, match="18540 images .* exemplar 3 of concept 1"):
        meg_trials.name_images(trials[trials.kind == "exp"], tmp_path)
    folder = tmp_path / "images_meg" / "hot_tub"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="1853 concepts"):
        meg_trials.name_images(trials[first], tmp_path)


def test_names_from_numbered_folders_but_not_those_of_eeg2(tmp_path):
    for number, name in ((10, "aircraft_carrier"), (1854, "zucchini")):
        folder = tmp_path / "Image_set" / "training_images" / f"{number:05d}_{name}"
        folder.mkdir(parents=True)
        (folder / f"{name}_02s.jpg").touch()
    trials = meg_order.standard_trials()
    wanted = (trials.kind == "exp") & (trials.exemplar == 2)
    rows = np.flatnonzero(wanted & np.isin(trials.concept_number, (10, 1854)))
    came = meg_trials.name_images(trials[rows], tmp_path).image.tolist()
    assert came == ["aircraft_carrier/aircraft_carrier_02s.jpg", "zucchini/zucchini_02s.jpg"]
    (tmp_path / "Image_set" / "test_images" / "00001_zebra").mkdir(parents=True)
    (tmp_path / "Image_set" / "test_images" / "00001_zebra" / "zebra_13s.jpg").touch()
    with pytest.raises(ValueError, match="THINGS-EEG2"):
        meg_trials.name_images(trials[rows], tmp_path)


def test_no_source_of_names_says_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="put image_paths.csv"):
        meg_trials.name_images(meg_order.trials_from_codes([5]), tmp_path)


def test_a_table_that_is_not_image_paths(tmp_path):
    (tmp_path / "image_paths.csv").write_text("images/vest/vest_01s.jpg\n")
    with pytest.raises(ValueError, match="1 images; wanted the 26107"):
        meg_trials.name_images(meg_order.trials_from_codes([5]), tmp_path)


def test_files_are_found_by_name(tmp_path):
    mini.write_images(tmp_path, ROWS)
    wanted = [*mini.KEPT_NAMES, *mini.PRESENTED]
    table = meg_images.find_files(wanted, tmp_path / "derivatives" / "x", "a table")
    assert all(path.is_file() for path in table.paths)
    assert [path.name for path in table.paths] == [name.split("/")[1] for name in wanted]
    assert table.concepts[-2:] == ("alligator", "aircraft_carrier")
    table.paths[0].unlink()
    with pytest.raises(FileNotFoundError, match="1 of 26 images are missing .*aardvark_01s"):
        meg_images.find_files(wanted, tmp_path, "a table")


def test_without_image_folders_names_alone(tmp_path):
    table = meg_images.find_files(["vest/vest_10s.jpg"], tmp_path, "a table")
    assert table.concepts == ("vest",) and "not there" in table.source
