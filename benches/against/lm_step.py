"""One training step of a language model in PyTorch, timed.

    python lm_step.py --workload lstm-65-64-256-2-64-64 --threads 2 --seconds 5 --json

A step: embedding, recurrent stack, linear, mean cross-entropy, backward, clipping of the global norm
at 1, Adam (fused; the others are no faster at these sizes), gradients set to None, the state carried and detached.
"""

import argparse
import json
import time

import torch
from torch import nn

from workload import MODULES, Workload, median, report

WARM_UP_STEPS = 5
MIN_STEPS = 5


class LanguageModel(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.embedding = nn.Embedding(w.vocab_size, w.embedding_size)
        self.rnn = MODULES[w.cell](w.embedding_size, w.hidden_size, w.num_layers)
        self.linear = nn.Linear(w.hidden_size, w.vocab_size)

    def forward(self, tokens, state):
        output, state = self.rnn(self.embedding(tokens), state)
        return self.linear(output), state


def detach(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", required=True, help="CELL-V-E-H-L-B-T")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to measure, after the warm-up")
    parser.add_argument("--adam", choices=["fused", "foreach", "plain"], default="fused")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    w = Workload.parse(args.workload)
    model = LanguageModel(w)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=2e-3, fused=args.adam == "fused", foreach=args.adam == "foreach"
    )
    tokens = torch.randint(w.vocab_size, (w.seq_len + 1, w.batch))
    inputs, targets = tokens[:-1], tokens[1:].reshape(-1)
    state = None

    def step():
        nonlocal state
        optimizer.zero_grad(set_to_none=True)
        logits, state = model(inputs, state)
        state = detach(state)
        loss = nn.functional.cross_entropy(logits.reshape(-1, w.vocab_size), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    for _ in range(WARM_UP_STEPS):
        step()
    times = []
    start = time.perf_counter()
    while len(times) < MIN_STEPS or time.perf_counter() - start < args.seconds:
        before = time.perf_counter()
        step()
        times.append((time.perf_counter() - before) * 1e3)

    found = report(args.workload, args.threads, median_ms=median(times), best_ms=min(times), steps=len(times))
    if args.json:
        print(json.dumps(found))
    else:
        print(f"{args.workload}: median {found['median_ms']:.2f} ms, best {found['best_ms']:.2f} ms a step")


if __name__ == "__main__":
    main()
