"""Training a classifier of texts in PyTorch, beside `refrain train classify` with the same data and settings.

    python classify.py TRAIN --validation FILE --test FILE --settings settings.json --threads 2

Files: `.tsv` with a line of names, or lines of a label, a space and a text. Prints a JSON line for each epoch, then one with the
accuracy on the test part and the median of the seconds of training in an epoch, scoring left out.
"""

import re

import torch

from labels import Examples, Labeller, Tokens, Words, arguments, classes_of, fail, train

# Letters and digits, also around an apostrophe or a point; every other sign by itself.
WORD = re.compile(r"\w+(?:['’.:]\w+)*|[^\w\s]")


def read(path, settings):
    """Texts and labels."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if settings.get("format") != "tsv" and path.suffix != ".tsv":
        pairs = [line.split(None, 1) for line in lines]
        return [pair[1] for pair in pairs], [pair[0] for pair in pairs]
    names = lines[0].split("\t")
    columns = [settings.get("text_column", "text"), settings.get("label_column", "label")]
    if any(column not in names for column in columns):
        fail(f"`{path}` has the columns {', '.join(names)}, expected {' and '.join(columns)}")
    text, label = (names.index(column) for column in columns)
    rows = [line.split("\t") for line in lines[1:]]
    return [row[text] for row in rows], [row[label] for row in rows]


def main():
    args, settings = arguments(__doc__)
    cut = {"char": list, "word": WORD.findall}.get(settings.tokens)
    if cut is None:
        fail(f"`tokens` is {settings.tokens!r}, expected char or word")
    texts, labels = read(args.train, settings)
    classes = classes_of(labels)
    vocabulary = Words((token for text in texts for token in cut(text)), settings.get("min_count", 1))

    def examples(texts, labels):
        sequences = [vocabulary.encode(cut(text)) or [0] for text in texts]
        content = torch.tensor([token for sequence in sequences for token in sequence])
        labels = torch.tensor([classes[label] for label in labels])
        return Examples(content, [len(sequence) for sequence in sequences], labels, per_step=False)

    parts = {
        "train": examples(texts, labels),
        "validation": examples(*read(args.validation, settings)),
        "test": examples(*read(args.test, settings)),
    }
    reader = Tokens(settings, vocabulary.counts, hide=settings.tokens == "word")
    model = Labeller(settings, reader, reader.features, len(classes), per_step=False)
    train(args, settings, model, parts)


if __name__ == "__main__":
    main()
