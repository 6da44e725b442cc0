"""Training a tagger in PyTorch, beside `refrain train tag` with the same data and settings.

    python tag.py TRAIN --validation FILE --test FILE --settings settings.json --threads 2

Files: tokens and labels in columns, an empty line between sentences; or `.npz` with `inputs` (N, T, H, W, C), video, or (N, T, F)
and `labels` (N, T), -1 for none. With `characters` a word's spelling is read by a bidirectional LSTM of its own. Frames go
through convolutions 3×3 with rectifier and 2×2 maximum. Prints as classify.py does.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from labels import Examples, Labeller, Tokens, Words, arguments, classes_of, fail, set_forget_bias, train

CHARACTER_SIZE, CHARACTER_UNITS = 32, 64
CHANNELS = [16, 32, 64, 64]
SMALLEST_SIDE = 4


def read_columns(path, settings):
    """Sentences as lists of words and lists of labels."""
    word, label = (int(settings.get(name, default)) - 1 for name, default in [("text_column", 1), ("label_column", 2)])
    sentences = []
    for block in path.read_text(encoding="utf-8-sig").split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n") if line]
        if rows:
            sentences.append(([row[word] for row in rows], [row[label] for row in rows]))
    return sentences


class Spelled(nn.Module):
    """A word's vector and the last states of an LSTM over its characters, both ways, once for each form of a batch."""

    def __init__(self, settings, counts, characters, forms):
        super().__init__()
        self.words = Tokens(settings, counts, hide=True)
        self.words.dropout = nn.Identity()
        self.embedding = nn.Embedding(characters, CHARACTER_SIZE)
        self.rnn = nn.LSTM(CHARACTER_SIZE, CHARACTER_UNITS, bidirectional=True)
        set_forget_bias(self.rnn, 1.0)
        self.dropout = nn.Dropout(settings.dropout)
        self.features = settings.embedding_size + 2 * CHARACTER_UNITS
        self.forms, self.tokens = forms

    def forward(self, rows):
        distinct, places = rows.unique(return_inverse=True)
        order = distinct.numpy()[np.argsort(-self.forms.lengths[distinct.numpy()], kind="stable")]
        characters, sizes, _ = self.forms.batch(order)
        _, (h, _) = self.rnn(PackedSequence(self.embedding(characters), sizes))
        spelling = torch.cat(list(h), dim=1)
        back = torch.from_numpy(np.argsort(order))
        vectors = torch.cat([self.words(self.tokens[distinct]), spelling[back]], dim=1)
        return self.dropout(vectors)[places]


class Frames(nn.Module):
    """A small convolutional network over each frame."""

    def __init__(self, settings, height, width, channels):
        super().__init__()
        layers = []
        for outputs in CHANNELS:
            if layers and min(height, width) <= SMALLEST_SIDE:
                break
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            height, width, channels = -(-height // 2), -(-width // 2), outputs
        self.features = settings.embedding_size
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(height * width * channels, self.features), nn.ReLU()
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, frames):
        return self.dropout(self.layers(frames))


def words(args, settings):
    parts = {name: read_columns(getattr(args, name), settings) for name in ("train", "validation", "test")}
    classes = classes_of(label for _, labels in parts["train"] for label in labels)
    vocabulary = Words((w for tokens, _ in parts["train"] for w in tokens), settings.get("min_count", 1))
    forms = {}
    for sentences in parts.values():
        for tokens, _ in sentences:
            for token in tokens:
                forms.setdefault(token, len(forms))

    def examples(sentences):
        content = torch.tensor([forms[w] for tokens, _ in sentences for w in tokens])
        labels = torch.tensor([classes.get(label, -1) for _, labels in sentences for label in labels])
        if not settings.get("characters", True):
            content = tokens_of_forms[content]
        return Examples(content, [len(tokens) for tokens, _ in sentences], labels, per_step=True)

    tokens_of_forms = torch.tensor(vocabulary.encode(forms))
    if settings.get("characters", True):
        alphabet = Words(c for tokens, _ in parts["train"] for w in tokens for c in w)
        spellings = [alphabet.encode(form) for form in forms]
        flat = torch.tensor([c for spelling in spellings for c in spelling])
        # No labels: each form is its own.
        table = Examples(flat, [len(s) for s in spellings], torch.arange(len(forms)), per_step=False)
        reader = Spelled(settings, vocabulary.counts, len(alphabet), (table, tokens_of_forms))
    else:
        reader = Tokens(settings, vocabulary.counts, hide=True)
    return {name: examples(part) for name, part in parts.items()}, reader, reader.features, len(classes)


def arrays(args, settings):
    """Clips or vectors, standardised on the training part; all of one length."""
    files = {name: np.load(getattr(args, name)) for name in ("train", "validation", "test")}
    if any("lengths" in file for file in files.values()):
        fail("`lengths` are not read here: all examples must have the same number of steps")
    inputs = {name: file["inputs"].astype(np.float32) for name, file in files.items()}
    if settings.get("center_clips"):
        inputs = {name: clips - clips.mean(axis=1, keepdims=True) for name, clips in inputs.items()}
    every = tuple(range(inputs["train"].ndim - 1))
    mean, std = inputs["train"].mean(axis=every), inputs["train"].std(axis=every)
    std[std == 0] = 1
    parts = {}
    for name, values in inputs.items():
        count, seq_len = values.shape[:2]
        rows = torch.from_numpy((values - mean) / std).flatten(0, 1)
        if rows.ndim == 4:
            # Channels before pixels, as PyTorch has them.
            rows = rows.permute(0, 3, 1, 2).contiguous()
        labels = torch.from_numpy(files[name]["labels"].astype(np.int64)).flatten()
        parts[name] = Examples(rows, [seq_len] * count, labels, per_step=True)
    classes = int(parts["train"].labels.max()) + 1
    if inputs["train"].ndim == 5:
        reader = Frames(settings, *inputs["train"].shape[2:])
        return parts, reader, reader.features, classes
    return parts, nn.Identity(), inputs["train"].shape[2], classes


def main():
    args, settings = arguments(__doc__)
    read = arrays if args.train.suffix == ".npz" else words
    parts, reader, features, classes = read(args, settings)
    train(args, settings, Labeller(settings, reader, features, classes, per_step=True), parts)


if __name__ == "__main__":
    main()
