"""Writes the goldens of metrics: what scikit-learn says of predictions and sacreBLEU of sentences, for Refrain to equal.

    python generate.py --out FOLDER

README.md in the folder above says what is in each file.
"""

import argparse
import json
import random
import zlib
from pathlib import Path

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
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


WORDS = {
    "english": "a the man woman dog bike red-haired street's isn't U.S. is rides over ( ) water , . ; ! ? \"quoted\" and two",
    "german": "ein eine Mann Hündin Straße fährt über größer, Äpfel. „Übung“ läuft – am Fluß und zwei Mädchen schön",
    "korean": "남자가 여자가 개와 거리를 달린다. 자전거를 타고, 물 위로 뛰어 오른다 그리고 두 명의 아이들이",
    "numbers": "1,000 3.14 1990-95 2-3 .5 7, 10% $3 a-1 1-a 12:30 5. ,4 e.g. 1.2.3 -7 3- x/y and of in",
    "marks": "&quot;so&quot; A&amp;B &lt;b&gt; &amp;lt; <skipped> it's [x] {y} `z` ~ ^ _ | a\\b # @home ... --",
}


def sentence(rng, words, shortest=1):
    return " ".join(rng.choice(words) for _ in range(rng.randint(shortest, 18)))


def worse(rng, text, words):
    """The text with some words left out, replaced, doubled or moved."""
    out = []
    for word in text.split(" "):
        out += rng.choices([[word], [], [rng.choice(words)], [word, word]], weights=[80, 7, 9, 4])[0]
    if len(out) > 2 and rng.random() < 0.3:
        at = rng.randrange(len(out) - 1)
        out[at], out[at + 1] = out[at + 1], out[at]
    return " ".join(out)


def corpora():
    """Hypotheses and the references of each, by name."""
    rng = random.Random(1)
    for language, words in WORDS.items():
        words = words.split(" ")
        truth = [sentence(rng, words) for _ in range(120)]
        yield language, [worse(rng, text, words) for text in truth], [[text] for text in truth]
    words = " ".join(WORDS.values()).split(" ")
    truth = [sentence(rng, words) for _ in range(300)]
    # One to three references, by turns.
    references = [[worse(rng, text, words) for _ in range(1 + at % 3)] for at, text in enumerate(truth)]
    # A reference may have lost all its words; sacreBLEU refuses those.
    references = [[text or "." for text in texts] for texts in references]
    yield "references", [worse(rng, text, words) for text in truth], references
    yield "short", ["a b c", "yes", "no ."], [["a b c"], ["yes !"], ["no"]]
    yield "pairs_only", ["a b x", "c d", "e"], [["a b"], ["c d y"], ["e f"]]
    yield "empty", ["", "the man is here ."], [["a man"], ["the man is here ."]]
    yield "all_empty", ["", ""], [["a man"], ["the man is here ."]]
    yield "never_right", ["x y z w v"], [["a b c d e"]]
    yield "no_fours", ["a b c d e f"], [["a b c x d e f"]]
    yield "too_short", ["the man rides a bike"], [["the man rides a bike over the water"]]
    yield "too_long", ["the man rides a bike over the water"], [["the man rides a bike"]]
    yield "closest", ["a b c d"], [["a b c d e f", "a b", "a b c", "a b c d e"]]
    yield "spaces", ["  a\tb  c\u3000d\x1fe ", "a\u00a0b c d  "], [["a b c d e"], ["a b c d"]]
    yield "case", ["The Man Is Here today"], [["the man is here today"]]
    yield "perfect", ["the man is here .", "ein Mädchen läuft"], [["the man is here ."], ["ein Mädchen läuft"]]


def sentence_scores(hypotheses, references):
    """What sacreBLEU says with its defaults."""
    most = max(map(len, references))
    streams = [[of[at] if at < len(of) else None for of in references] for at in range(most)]
    bleu = BLEU().corpus_score(hypotheses, streams)
    return {
        "bleu": [bleu.score, *bleu.precisions, bleu.bp, bleu.sys_len, bleu.ref_len],
        "chrf": CHRF().corpus_score(hypotheses, streams).score,
    }


def write_sentences(out):
    """The sentences as JSON, the scores as tensors, with a checksum of the sentences."""
    texts, tensors = {}, {}
    for name, hypotheses, references in corpora():
        texts[name] = {"hypotheses": hypotheses, "references": references}
        for score, value in sentence_scores(hypotheses, references).items():
            tensors[f"{name}.{score}"] = np.asarray(value, dtype=np.float64)
        crc = zlib.crc32(json.dumps(texts[name], sort_keys=True).encode())
        tensors[f"{name}.crc32"] = np.asarray([crc], dtype=np.int64)
    (out / "sentences.json").write_text(json.dumps(texts, ensure_ascii=False, indent=1) + "\n")
    save_file(tensors, out / "sentences.safetensors")


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
    write_sentences(out)


if __name__ == "__main__":
    main()
