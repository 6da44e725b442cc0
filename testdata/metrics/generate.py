"""Writes the goldens of metrics: what scikit-learn says of predictions, for Refrain to equal.

    python generate.py --out FOLDER

README.md in the folder above says what is in each file.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics

CLASSES = 7


def cases():
    """Truth and prediction by name of the case."""
    rng = np.random.default_rng(1)
    truth = rng.integers(CLASSES, size=200)
    wrong = rng.integers(CLASSES, size=200)
    yield "common", truth, np.where(rng.random(200) < 0.6, truth, wrong)
    # Class 2 is predicted and never true, 3 true and never predicted, 5 neither.
    truth = rng.choice([0, 1, 3, 4, 6], size=60, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    prediction = np.where(rng.random(60) < 0.5, truth, rng.choice([0, 1, 2, 4], size=60))
    prediction[prediction == 3] = 2
    yield "gaps", truth, prediction
    yield "one_class", np.full(5, 4), np.full(5, 4)
    yield "never_right", np.array([0, 0, 1, 1, 2]), np.array([1, 2, 2, 0, 1])


def scores(truth, prediction):
    """All scores of one case; those of single classes for every class, whether it occurs or not."""
    every = np.arange(CLASSES)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, prediction, labels=every, zero_division=0
    )
    return {
        "confusion": metrics.confusion_matrix(truth, prediction, labels=every),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": np.asarray(support, dtype=np.int64),
        "accuracy": metrics.accuracy_score(truth, prediction),
        # Without labels: those that occur in truth or prediction.
        "macro_f1": metrics.f1_score(truth, prediction, average="macro", zero_division=0),
        "micro_f1": metrics.f1_score(truth, prediction, average="micro", zero_division=0),
        "balanced_accuracy": metrics.recall_score(
            truth, prediction, labels=np.unique(truth), average="macro", zero_division=0
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for case, truth, prediction in cases():
        found = {"truth": truth, "prediction": prediction, **scores(truth, prediction)}
        for name, value in found.items():
            tensors[f"{case}.{name}"] = np.ascontiguousarray(np.asarray(value))
    save_file(tensors, out / "classes.safetensors")


if __name__ == "__main__":
    main()
