"""Training a forecaster of a series in PyTorch, beside `refrain train forecast` with the same data and settings.

    python forecast.py SERIES --validation 0.2 --test 0.2 --settings settings.json --threads 2

SERIES is a `.csv` with a line of names whose first column is the time. Fractions are cut from its end; a window's predicted
steps lie in its part, what it sees may reach back. Prints a JSON line for each epoch, then one with the errors on the test part
and the median of the seconds of training in an epoch, scoring left out.
"""

import numpy as np
import torch
from torch import nn

from labels import arguments, fail, fit, recurrent

SCORED_ROWS = 8192  # rows over time of a batch that is only scored


class Windows:
    """Windows of a standardised series: `context` steps seen, counted from the last one, and the `horizon` steps after them."""

    def __init__(self, values, starts, settings):
        self.values, self.starts = values, torch.as_tensor(starts)
        self.back = torch.arange(-settings.context, 0)[:, None]
        self.ahead = torch.arange(settings.horizon)[:, None]
        self.anchored = settings.anchor == "last"

    def __len__(self):
        return len(self.starts)

    def epoch(self, batch, rng):
        order = rng.permutation(len(self))
        return [order[at : at + batch] for at in range(0, len(order), batch)]

    def batch(self, chosen):
        """Inputs (context, batch, columns) and targets (batch, horizon, columns)."""
        starts = self.starts[torch.as_tensor(chosen)]
        inputs, targets = self.values[starts + self.back], self.values[starts + self.ahead]
        if self.anchored:
            last = self.values[starts - 1]
            inputs, targets = inputs - last, targets - last
        return inputs, targets.transpose(0, 1)


class Forecaster(nn.Module):
    """A recurrent stack, a linear layer from its last state to all steps, and a linear layer of each column's own past beside it."""

    def __init__(self, settings, columns):
        super().__init__()
        self.horizon, self.columns = settings.horizon, columns
        self.rnn = recurrent(settings, columns)
        self.dropout = nn.Dropout(settings.dropout)
        ways = 2 if settings.bidirectional else 1
        self.linear = nn.Linear(ways * settings.hidden_size, settings.horizon * columns)
        self.shortcut = nn.Linear(settings.context, settings.horizon) if settings.shortcut else None

    def forward(self, inputs):
        _, state = self.rnn(inputs)
        h = state[0] if isinstance(state, tuple) else state
        last = torch.cat(list(h[-2:] if self.rnn.bidirectional else h[-1:]), dim=1)
        answers = self.linear(self.dropout(last)).view(-1, self.horizon, self.columns)
        if self.shortcut is not None:
            answers = answers + self.shortcut(inputs.permute(1, 2, 0)).transpose(1, 2)
        return answers


def errors(model, windows, context):
    squared = absolute = count = 0.0
    size = max(1, SCORED_ROWS // context)
    for start in range(0, len(windows), size):
        inputs, targets = windows.batch(range(start, min(start + size, len(windows))))
        distance = (model(inputs) - targets).double()
        squared += float((distance**2).sum())
        absolute += float(distance.abs().sum())
        count += distance.numel()
    return {"mse": squared / count, "mae": absolute / count}


def main():
    args, settings = arguments(__doc__)
    if settings.loss not in ("mse", "mae"):
        fail(f"`loss` is {settings.loss!r}, expected mse or mae")
    with open(args.train, encoding="utf-8") as file:
        columns = len(file.readline().split(",")) - 1
    values = np.loadtxt(args.train, delimiter=",", skiprows=1, usecols=range(1, columns + 1))
    held = [round(len(values) * float(str(part))) for part in (args.validation, args.test)]
    ends = np.cumsum([len(values) - sum(held), *held])
    train_part = values[: ends[0]]
    values = torch.from_numpy(((values - train_part.mean(0)) / train_part.std(0)).astype(np.float32))
    starts = [settings.context, *ends[:2]]
    parts = {
        name: Windows(values, np.arange(start, end - settings.horizon + 1), settings)
        for name, start, end in zip(("train", "validation", "test"), starts, ends)
    }
    model = Forecaster(settings, columns)
    distance = nn.functional.mse_loss if settings.loss == "mse" else nn.functional.l1_loss

    def loss_of(chosen):
        inputs, targets = parts["train"].batch(chosen)
        return distance(model(inputs), targets)

    def scores_of(part):
        return errors(model, parts[part], settings.context)

    fit(args, settings, model, parts["train"], loss_of, scores_of, settings.loss, rising=False)


if __name__ == "__main__":
    main()
