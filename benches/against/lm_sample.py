"""Sampling one stream from a language model in PyTorch, timed.

    python lm_sample.py --workload sample-lstm-65-64-256-2 --threads 2 --seconds 5 --json

The fast way in PyTorch is one LSTMCell (GRUCell, RNNCell) a layer, under inference mode: it is measured
with one thread and with N, and the better one is `chars_per_s`. The stacked nn.LSTM, called with a
sequence of length 1, is slower and reported apart, as `module_chars_per_s`. Drawn tokens stay
tensors: turning each into a number for printing is not counted.
"""

import argparse
import json
import time

import torch
from torch import nn

from workload import CELLS, MODULES, Workload, median, report

CHUNK = 100  # characters a timing; the median is over chunks


class ByCell:
    def __init__(self, w):
        sizes = [w.embedding_size] + [w.hidden_size] * (w.num_layers - 1)
        self.cells = [CELLS[w.cell](size, w.hidden_size) for size in sizes]
        zeros = torch.zeros(1, w.hidden_size)
        self.states = [(zeros, zeros) if w.cell == "lstm" else zeros for _ in self.cells]

    def __call__(self, x):
        for index, cell in enumerate(self.cells):
            self.states[index] = cell(x, self.states[index])
            x = self.states[index][0] if isinstance(self.states[index], tuple) else self.states[index]
        return x


class ByModule:
    def __init__(self, w):
        self.rnn = MODULES[w.cell](w.embedding_size, w.hidden_size, w.num_layers)
        self.state = None

    def __call__(self, x):
        output, self.state = self.rnn(x.unsqueeze(0), self.state)
        return output.squeeze(0)


@torch.inference_mode()
def chars_per_s(kind, w, threads, seconds):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    embedding = nn.Embedding(w.vocab_size, w.embedding_size)
    linear = nn.Linear(w.hidden_size, w.vocab_size)
    stack = kind(w)
    token = torch.zeros(1, dtype=torch.long)
    rates = []
    start = None
    while start is None or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        drawn = []
        for _ in range(CHUNK):
            probabilities = torch.softmax(linear(stack(embedding(token))), dim=-1)
            token = torch.multinomial(probabilities, 1).squeeze(0)
            drawn.append(token)
        torch.cat(drawn)
        if start is None:  # the first chunk is the warm-up
            start = time.perf_counter()
            continue
        rates.append(CHUNK / (time.perf_counter() - before))
    return median(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", required=True, help="sample-CELL-V-E-H-L")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to measure, all ways together")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    w = Workload.parse(args.workload)
    ways = [(kind, threads) for kind in (ByCell, ByModule) for threads in sorted({1, args.threads})]
    runs = []
    for kind, threads in ways:
        rate = chars_per_s(kind, w, threads, args.seconds / len(ways))
        module = (CELLS if kind is ByCell else MODULES)[w.cell].__name__
        runs.append({"module": module, "by_cell": kind is ByCell, "threads": threads, "chars_per_s": rate})
    best = max((run for run in runs if run["by_cell"]), key=lambda run: run["chars_per_s"])
    module = max(run["chars_per_s"] for run in runs if not run["by_cell"])

    found = report(
        args.workload, best["threads"], chars_per_s=best["chars_per_s"], module_chars_per_s=module, runs=runs
    )
    if args.json:
        print(json.dumps(found))
    else:
        for run in runs:
            print(f"{args.workload}: nn.{run['module']}, threads {run['threads']}: {run['chars_per_s']:.0f} chars/s")


if __name__ == "__main__":
    main()
