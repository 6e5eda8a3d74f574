"""A small THINGS-MEG: four concepts with their true numbers, two of them in the test.

Trials are in a random order. What belongs to a row is looked up here by name, one trial after
another, and never by the formulas of the package.
"""

import csv

import numpy as np

CONCEPTS = {"aardvark": 1, "aircraft_carrier": 10, "alligator": 13, "zucchini": 1854}
FIRST = {"aardvark": 1, "aircraft_carrier": 127, "alligator": 178, "zucchini": 26095}
TEST = {"aircraft_carrier": (22, 148, 101), "alligator": (14, 191, 1)}  # exemplar, image, own
COLUMNS = (
    "trial_type", "image_nr", "category_nr", "exemplar_nr", "test_image_nr", "things_category_nr",
    "things_image_nr", "things_exemplar_nr", "image_path", "session_nr", "run_nr",
)  # fmt: skip


def records(seed=0):
    """74 trials: 4 x 12 images, 2 test images in each of 12 sessions, 2 catch trials."""
    rng, rows = np.random.default_rng(seed), []
    for name, number in CONCEPTS.items():
        for j in range(1, 13):
            rows.append({"trial_type": "exp", "things_category_nr": float(number),
                         "things_image_nr": float(FIRST[name] + j - 1), "things_exemplar_nr": j,
                         "image_path": f"images_meg/{name}/{name}_{j:02d}s.jpg",
                         "session_nr": int(rng.integers(1, 13)), "run_nr": 1})  # fmt: skip
    for name, (exemplar, image, own) in TEST.items():
        for session in range(1, 13):
            rows.append({"trial_type": "test", "things_category_nr": float(CONCEPTS[name]),
                         "things_image_nr": image, "things_exemplar_nr": exemplar,
                         "test_image_nr": own, "session_nr": session, "run_nr": 2,
                         "image_path": f"images_test_meg/{name}_{exemplar}s.jpg"})  # fmt: skip
    rows += [{"trial_type": "catch", "category_nr": 1855, "session_nr": s, "run_nr": 1,
              "image_path": "images_catch_meg/catch001.jpg"} for s in (3, 9)]  # fmt: skip
    rows = [rows[i] for i in rng.permutation(len(rows))]
    return sorted(rows, key=lambda row: row["session_nr"])


def codes(rows):
    return [int(row.get("things_image_nr", 999999)) for row in rows]


def name(row):
    file = row["image_path"].split("/")[-1]
    return f"{file.rsplit('_', 1)[0]}/{file}"


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)


def write_images(root, rows):
    for row in rows:
        path = root / row["image_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def signals(rows, seed=1):
    """(trials, 271, 281) float32, in the order of the rows."""
    shape = (len(rows), 271, 281)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def expected(data, rows, names):
    """(n, r, 271, 281): all trials of each named image, in the order in which they came."""
    return np.stack([
        np.stack([data[i] for i, row in enumerate(rows)
                  if row["trial_type"] != "catch" and name(row) == wanted])
        for wanted in names
    ])  # fmt: skip


TRAIN_NAMES = [f"{c}/{c}_{j:02d}s.jpg" for c in sorted(CONCEPTS) for j in range(1, 13)]
KEPT_NAMES = [each for each in TRAIN_NAMES if each.split("/")[0] not in TEST]
BY_IMAGE = ["aircraft_carrier/aircraft_carrier_22s.jpg", "alligator/alligator_14s.jpg"]
PRESENTED = BY_IMAGE[::-1]
