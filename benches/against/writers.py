"""Training a translator or a captioner in PyTorch, beside `refrain train translate|caption` with the same data and settings.

    python writers.py SOURCE [TARGET] --validation FILE --test FILE --settings settings.json --threads 2

Two parallel files of sentences (translate); validation and test are named by the part that both names share,
`val.en` beside `val.de`. Or a `.tsv` of picture and sentence, without names of columns, and `--images FILE.npz` whose `inputs` (N, H, W, C)
have those pictures (caption). An encoder, a bridge to the decoder's first states, a decoder that is told each token, attention
after its last layer. Prints a JSON line for each epoch, then one with the losses in nats a token and the median of the seconds of
training in an epoch, scoring left out. The loss of the validation part after the last step is what is compared: Refrain keeps the
weights that write best, which a search decides that these scripts do not have.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from classify import WORD
from labels import Tokens, Words, arguments, bucketed, fail, fit, recurrent, scoring
from tag import Frames


class Pairs:
    """Sources, each named by a place, and the tokens of a target for each pair."""

    def __init__(self, sources, source_of, targets, boundary):
        self.sources, self.source_of, self.boundary = sources, np.asarray(source_of), boundary
        self.targets = targets
        source_lengths = np.array([len(source) for source in sources]) if isinstance(sources, list) else np.ones(len(sources), int)
        self.source_lengths = source_lengths[self.source_of]
        self.target_lengths = np.array([len(target) + 1 for target in targets])

    def __len__(self):
        return len(self.targets)

    def epoch(self, batch, rng):
        return bucketed(self.source_lengths + self.target_lengths, batch, rng)

    def scoring(self):
        return scoring(np.maximum(self.source_lengths, self.target_lengths))

    def batch(self, chosen):
        """What is read by falling length, the places of the targets' sources, what the decoder reads and what it is to write."""
        by_source = chosen[np.argsort(-self.source_lengths[chosen], kind="stable")]
        by_target = np.argsort(-self.target_lengths[by_source], kind="stable")
        places = torch.from_numpy(by_target)
        named = self.source_of[by_source]
        if isinstance(self.sources, list):
            source = nn.utils.rnn.pack_sequence([self.sources[at] for at in named])
        else:
            source = self.sources[torch.from_numpy(named)]
        end = torch.tensor([self.boundary])
        targets = [self.targets[at] for at in by_source[by_target]]
        inputs = nn.utils.rnn.pack_sequence([torch.cat([end, target]) for target in targets])
        wanted = nn.utils.rnn.pack_sequence([torch.cat([target, end]) for target in targets])
        return source, places, inputs, wanted.data


class Bridge(nn.Module):
    """From a summary to the first h, through tanh, and the first c of each layer."""

    def __init__(self, summary, settings):
        super().__init__()
        layers = range(settings.num_layers)
        self.h = nn.ModuleList(nn.Linear(summary, settings.hidden_size) for _ in layers)
        self.c = nn.ModuleList(nn.Linear(summary, settings.hidden_size) for _ in layers if settings.cell == "lstm")

    def forward(self, summary):
        h = torch.stack([torch.tanh(layer(summary)) for layer in self.h])
        return (h, torch.stack([layer(summary) for layer in self.c])) if self.c else h


class Attention(nn.Module):
    """Luong's or Bahdanau's score, softmax over the source's own steps, tanh(C [context ; h])."""

    def __init__(self, kind, hidden, encoded):
        super().__init__()
        self.kind = kind
        if kind in ("general", "additive"):
            self.query = nn.Linear(hidden, encoded if kind == "general" else hidden, bias=False)
        if kind == "additive":
            self.key, self.score = nn.Linear(encoded, hidden, bias=False), nn.Linear(hidden, 1, bias=False)
        self.combine = nn.Linear(encoded + hidden, hidden, bias=False)

    def forward(self, h, states, real):
        """h (batch, T, hidden), states (batch, S, encoded), real (batch, S)."""
        if self.kind == "additive":
            scores = self.score(torch.tanh(self.query(h)[:, :, None] + self.key(states)[:, None])).squeeze(3)
        else:
            query = self.query(h) if self.kind == "general" else h
            if query.shape[2] != states.shape[2]:
                query = torch.cat([query, query], dim=2)
            scores = query @ states.transpose(1, 2)
        weights = scores.masked_fill(~real[:, None], float("-inf")).softmax(2)
        return torch.tanh(self.combine(torch.cat([weights @ states, h], dim=2)))


class Writer(nn.Module):
    """An encoder joined to a decoder."""

    def __init__(self, settings, reader, vocab_size):
        super().__init__()
        self.reader = reader
        self.encoder = None if isinstance(reader, Frames) else recurrent(settings, reader.features)
        encoded = reader.features if self.encoder is None else settings.hidden_size * (2 if settings.bidirectional else 1)
        self.bridge = Bridge(encoded, settings)
        self.embedding = nn.Embedding(vocab_size + 1, settings.embedding_size)
        self.dropout = nn.Dropout(settings.dropout)
        # The decoder goes one way, whatever the encoder does.
        self.decoder = recurrent(Forward(settings), settings.embedding_size)
        kind = settings.get("attention", "none")
        self.attention = None if kind == "none" else Attention(kind, settings.hidden_size, encoded)
        self.linear = nn.Linear(settings.hidden_size, vocab_size + 1)

    def forward(self, source, places, inputs):
        states = None
        if self.encoder is None:
            features = self.reader(source)
            # No gain and no bias: the bridge has them.
            summary = nn.functional.layer_norm(features, features.shape[1:])
        else:
            output, state = self.encoder(PackedSequence(self.reader(source.data), source.batch_sizes))
            h = state[0] if isinstance(state, tuple) else state
            summary = torch.cat(list(h[-2:] if self.encoder.bidirectional else h[-1:]), dim=1)
            if self.attention is not None:
                states, lengths = pad_packed_sequence(output, batch_first=True)
                real = torch.arange(states.shape[1]) < lengths[:, None]
        first = self.bridge(summary[places])
        vectors = self.dropout(self.embedding(inputs.data))
        output, _ = self.decoder(PackedSequence(vectors, inputs.batch_sizes), first)
        hidden = output.data
        if states is not None:
            padded, lengths = pad_packed_sequence(output, batch_first=True)
            padded = self.attention(padded, states[places], real[places])
            hidden = nn.utils.rnn.pack_padded_sequence(padded, lengths, batch_first=True).data
        return self.linear(self.dropout(hidden))


class Forward(dict):
    """Settings of the same run for a stack that goes one way."""

    def __init__(self, settings):
        super().__init__(settings)
        self["bidirectional"] = False

    __getattr__ = dict.__getitem__


def encoded(vocabulary, texts, cut):
    return [torch.tensor(vocabulary.encode(cut(text)), dtype=torch.long) for text in texts]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def sentences(args, settings, cut):
    """Parallel files; those of a part that is named by one of them lie beside it."""
    languages = args.train.suffix, args.target.suffix
    texts = {"train": (lines(args.train), lines(args.target))}
    for name in ("validation", "test"):
        path = getattr(args, name)
        texts[name] = tuple(lines(path.with_suffix(language)) for language in languages)
    rarest = settings.get("min_count", 1)
    vocabularies = [Words((token for text in side for token in cut(text)), rarest) for side in texts["train"]]
    longest = settings.get("max_length", "none")
    parts = {}
    for name, sides in texts.items():
        pairs = zip(*(encoded(vocabulary, side, cut) for vocabulary, side in zip(vocabularies, sides)))
        if name == "train" and longest != "none":
            pairs = ((source, target) for source, target in pairs if max(len(source), len(target)) <= longest)
        sources, targets = zip(*pairs)
        parts[name] = Pairs(list(sources), range(len(sources)), targets, len(vocabularies[1]))
    reader = Tokens(settings, vocabularies[0].counts, hide=settings.tokens == "word")
    return parts, reader, len(vocabularies[1])


def pictures(args, settings, cut):
    """Sentences of pictures, which are standardised on those of the training part."""
    inputs = np.load(args.images)["inputs"].astype(np.float32)
    rows = {name: [line.split("\t") for line in lines(getattr(args, name))] for name in ("train", "validation", "test")}
    seen = sorted({int(row[0]) for row in rows["train"]})
    mean, std = (getattr(inputs[seen], name)(axis=(0, 1, 2)) for name in ("mean", "std"))
    std[std == 0] = 1
    # Channels before pixels, as PyTorch has them.
    frames = torch.from_numpy((inputs - mean) / std).permute(0, 3, 1, 2).contiguous()
    vocabulary = Words((token for row in rows["train"] for token in cut(row[1])), settings.get("min_count", 1))
    parts = {
        name: Pairs(frames, [int(row[0]) for row in part], encoded(vocabulary, [row[1] for row in part], cut), len(vocabulary))
        for name, part in rows.items()
    }
    return parts, Frames(settings, *inputs.shape[1:]), len(vocabulary)


def main():
    args, settings = arguments(__doc__, {"target": {"nargs": "?"}, "--images": {}})
    cut = {"char": list, "word": WORD.findall}.get(settings.tokens)
    if cut is None:
        fail(f"`tokens` is {settings.tokens!r}, expected char or word")
    if settings.get("pooling", "last") != "last":
        fail(f"`pooling` is {settings.pooling!r}, expected last")
    parts, reader, vocab_size = (pictures if args.images else sentences)(args, settings, cut)
    model = Writer(settings, reader, vocab_size)

    def loss_of(chosen):
        source, places, inputs, wanted = parts["train"].batch(chosen)
        return nn.functional.cross_entropy(model(source, places, inputs), wanted)

    def scores_of(part):
        total = tokens = 0
        for chosen in parts[part].scoring():
            source, places, inputs, wanted = parts[part].batch(chosen)
            total += float(nn.functional.cross_entropy(model(source, places, inputs), wanted, reduction="sum"))
            tokens += len(wanted)
        return {"loss_nats": total / tokens}

    fit(args, settings, model, parts["train"], loss_of, scores_of, "loss_nats", rising=False)


if __name__ == "__main__":
    main()
