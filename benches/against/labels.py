"""What the scripts that train share: settings, batches, the loop; and the model of those that train on labels.

All follow Refrain: the same sizes, initialisation, dropout, buckets of like length, schedule, clipping and Adam, one score of
the validation part every `eval_every` steps, and the test part scored once with the weights that were best there. Packed
sequences wherever lengths differ: embedding and linear layer never see padding.
"""

import argparse
import copy
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from workload import MODULES, median

POOL = 50  # batches whose examples are sorted by length together
SCORED_ROWS = 4096  # rows over time of a batch that is only scored
COSINE_END = 0.1
HIDE = 0.25  # a word seen n times is read as unknown with probability HIDE / (HIDE + n)
NO_LABEL = -1
UNKNOWN = 0

# Settings of a run that these scripts do not follow, and the values with which nothing is left out.
PLAIN = {
    "layer_norm": [False],
    "batch_norm": [False],
    "recurrent_dropout": [0.0],
    "init": ["uniform"],
    "optimizer": ["adam", "adamw"],
    "schedule": ["constant", "cosine"],
    "class_weights": ["none"],
    "lowercase": [False],
    "tie_weights": [False],
    "shared_vocabulary": [False],
    "augment": [False],
}


def fail(problem):
    sys.exit(f"error: {problem}")


class Settings(dict):
    """The resolved settings of a Refrain run (its config.toml) as an object of JSON."""

    @classmethod
    def read(cls, path):
        settings = cls(json.loads(Path(path).read_text()))
        for name, plain in PLAIN.items():
            if name in settings and settings[name] not in plain:
                fail(f"`{name}` is {settings[name]!r}, which this script does not follow")
        if settings["cell"] not in MODULES:
            fail(f"`cell` is {settings['cell']!r}, expected one of {', '.join(MODULES)}")
        return settings

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            fail(f"the settings have no `{name}`")


def arguments(description, more=None):
    """The command line and the settings; `more` has further paths by name, with what argparse is told of them."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("train", type=Path, help="the training part")
    for name, options in (more or {}).items():
        parser.add_argument(name, type=Path, **options)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--settings", type=Path, required=True, help="JSON: a Refrain run's resolved settings")
    parser.add_argument("--seed", type=int, help="instead of the settings' seed")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = Settings.read(args.settings)
    if args.seed is not None:
        settings["seed"] = args.seed
    torch.manual_seed(settings.seed)
    return args, settings


class Words:
    """Ids of the training part's words (or characters) by falling frequency; 0 is every other one."""

    def __init__(self, tokens, min_count=1):
        counts = {}
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
        kept = [token for token, count in sorted(counts.items(), key=lambda item: -item[1]) if count >= min_count]
        self.ids = {token: at for at, token in enumerate(kept, start=1)}
        self.counts = torch.tensor([0.0] + [counts[token] for token in kept])

    def __len__(self):
        return len(self.ids) + 1

    def encode(self, tokens):
        return [self.ids.get(token, UNKNOWN) for token in tokens]


def classes_of(labels):
    """The classes of the training part, sorted."""
    return {label: at for at, label in enumerate(sorted(set(labels)))}


def bucketed(lengths, batch, rng):
    """The batches of an epoch: pools of the shuffled examples sorted by falling length, cut, and shuffled again."""
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL * batch):
        pool = order[start : start + POOL * batch]
        pool = pool[np.argsort(-lengths[pool], kind="stable")]
        batches += [pool[at : at + batch] for at in range(0, len(pool), batch)]
    return [batches[at] for at in rng.permutation(len(batches))]


def scoring(lengths):
    """By falling length in batches of some thousand rows."""
    batches, rows = [], SCORED_ROWS
    for at in np.argsort(-lengths, kind="stable"):
        if rows + lengths[at] > SCORED_ROWS:
            batches.append([])
            rows = 0
        batches[-1].append(at)
        rows += lengths[at]
    return [np.array(batch) for batch in batches]


class Examples:
    """Sequences one after the other, with a label each or a label for each step."""

    def __init__(self, content, lengths, labels, per_step):
        self.content, self.labels, self.per_step = content, labels, per_step
        self.lengths = np.asarray(lengths)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def __len__(self):
        return len(self.lengths)

    def batch(self, chosen):
        """Rows over time of some examples by falling length, how many there are at each step, and their labels."""
        lengths = self.lengths[chosen]
        at_step = np.arange(lengths[0])[:, None]
        alive = at_step < lengths
        rows = torch.from_numpy((self.starts[chosen] + at_step)[alive])
        labels = self.labels[rows] if self.per_step else self.labels[torch.from_numpy(chosen)]
        return self.content[rows], torch.from_numpy(alive.sum(1)), labels

    def epoch(self, batch, rng):
        return bucketed(self.lengths, batch, rng)

    def scoring(self):
        return scoring(self.lengths)


def recurrent(settings, input_size):
    stack = MODULES[settings.cell](
        input_size,
        settings.hidden_size,
        settings.num_layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout if settings.num_layers > 1 else 0.0,
        **({"nonlinearity": settings.nonlinearity} if settings.cell == "rnn" else {}),
    )
    if settings.cell == "lstm" and settings.forget_bias != "none":
        set_forget_bias(stack, settings.forget_bias)
    return stack


def set_forget_bias(lstm, bias):
    """The second quarter of the gates; the other bias is 0 there."""
    with torch.no_grad():
        for name, value in lstm.named_parameters():
            if name.startswith("bias_"):
                value[lstm.hidden_size : 2 * lstm.hidden_size] = bias if name.startswith("bias_ih") else 0.0


class Tokens(nn.Module):
    """Vectors of tokens; in training rare words are read as unknown by chance."""

    def __init__(self, settings, counts, hide):
        super().__init__()
        self.embedding = nn.Embedding(len(counts), settings.embedding_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.features = settings.embedding_size
        self.register_buffer("hidden", HIDE / (HIDE + counts) if hide else None)

    def forward(self, tokens):
        if self.training and self.hidden is not None:
            tokens = torch.where(torch.rand(len(tokens)) < self.hidden[tokens], UNKNOWN, tokens)
        return self.dropout(self.embedding(tokens))


class Labeller(nn.Module):
    """A reader of steps, a recurrent stack, a linear layer over each step or over each sequence."""

    def __init__(self, settings, reader, features, classes, per_step):
        super().__init__()
        self.reader, self.per_step = reader, per_step
        self.pooling = None if per_step else settings.pooling
        self.rnn = recurrent(settings, features)
        self.dropout = nn.Dropout(settings.dropout)
        ways = 2 if settings.bidirectional else 1
        self.linear = nn.Linear(ways * settings.hidden_size, classes)

    def forward(self, rows, sizes):
        features = self.reader(rows)
        seq_len, batch = len(sizes), int(sizes[0])
        if int(sizes[-1]) == batch:
            # All of one length: the plain call is the faster one.
            output, state = self.rnn(features.view(seq_len, batch, -1))
        else:
            output, state = self.rnn(PackedSequence(features, sizes))
        if self.per_step:
            flat = output.data if isinstance(output, PackedSequence) else output.flatten(0, 1)
            return self.linear(self.dropout(flat))
        return self.linear(self.dropout(self.pool(output, state)))

    def pool(self, output, state):
        if self.pooling == "last":
            h = state[0] if isinstance(state, tuple) else state
            return torch.cat(list(h[-2:] if self.rnn.bidirectional else h[-1:]), dim=1)
        if isinstance(output, PackedSequence):
            blank = 0.0 if self.pooling == "mean" else -math.inf
            output, lengths = nn.utils.rnn.pad_packed_sequence(output, padding_value=blank)
        else:
            lengths = torch.full((output.shape[1],), output.shape[0])
        if self.pooling == "mean":
            return output.sum(0) / lengths[:, None]
        return output.amax(0)


def accuracy(model, examples):
    right = total = 0
    for chosen in examples.scoring():
        rows, sizes, labels = examples.batch(chosen)
        found = model(rows, sizes).argmax(1)
        known = labels != NO_LABEL
        right += int((found[known] == labels[known]).sum())
        total += int(known.sum())
    return right / total


def learning_rate(settings, step, steps):
    """Of step number `step` (from 1) of `steps`."""
    peak = settings.learning_rate
    if step <= settings.warmup_steps:
        return peak * step / settings.warmup_steps
    if settings.schedule == "constant":
        return peak
    share = 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
    return peak * (COSINE_END + (1 - COSINE_END) * share)


def fit(args, settings, model, examples, loss_of, scores_of, metric, rising=True):
    """Trains, prints a JSON line for each epoch and a last one with the scores and the median time.

    `examples.epoch(batch, rng)` gives the batches of an epoch, `loss_of(batch)` the loss of one, `scores_of(part)` the scores
    of `validation` or `test`, of which `metric` tells the best weights. `last` are the validation part's after the last step.
    """
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    steps_per_epoch = math.ceil(len(examples) / settings.batch)
    steps = round(settings.epochs * steps_per_epoch)
    step, epoch, best, best_weights, seconds = 0, 0, None, None, []
    while step < steps:
        rng = np.random.default_rng([settings.seed, epoch])
        spent, losses, found = 0.0, [], None
        for batch in examples.epoch(settings.batch, rng):
            before = time.perf_counter()
            step += 1
            optimizer.param_groups[0]["lr"] = learning_rate(settings, step, steps)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(batch)
            loss.backward()
            if settings.clip_norm != "none":
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            losses.append(loss.item())
            spent += time.perf_counter() - before
            if step % settings.eval_every == 0 or step == steps:
                found = scored(model, scores_of, "validation")
                if best is None or (found[metric] > best[metric]) == rising:
                    best, best_weights = found, copy.deepcopy(model.state_dict())
            if step == steps:
                break
        epoch += 1
        if len(losses) == steps_per_epoch:
            seconds.append(spent)
        line = {"epoch": epoch, "seconds": spent, "train_loss": sum(losses) / len(losses)}
        if found is not None:
            line["validation"] = found
        print(json.dumps(line), flush=True)
    model.load_state_dict(best_weights)
    report = {
        "validation": best,
        "last": found,
        "test": scored(model, scores_of, "test"),
        "seconds_per_epoch": median(seconds or [spent]),
        "epochs": seconds,
        "parameters": sum(value.numel() for value in model.parameters()),
        "threads": args.threads,
        "machine": {"torch": torch.__version__, "isa": torch.backends.cpu.get_cpu_capability()},
    }
    print(json.dumps(report), flush=True)


@torch.inference_mode()
def scored(model, scores_of, part):
    model.eval()
    scores = scores_of(part)
    model.train()
    return scores


def train(args, settings, model, parts):
    """Trains a labeller by the accuracy of its validation part."""

    def loss_of(chosen):
        rows, sizes, labels = parts["train"].batch(chosen)
        return nn.functional.cross_entropy(model(rows, sizes), labels, ignore_index=NO_LABEL)

    fit(args, settings, model, parts["train"], loss_of, lambda part: {"accuracy": accuracy(model, parts[part])}, "accuracy")
