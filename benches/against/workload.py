"""The names of workloads, as `refrain bench --workload` reads them, and what both scripts share."""

import statistics
from dataclasses import dataclass

import torch
from torch import nn

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


@dataclass
class Workload:
    """`CELL-V-E-H-L-B-T`, or `sample-CELL-V-E-H-L`."""

    cell: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    batch: int = 1
    seq_len: int = 1

    @classmethod
    def parse(cls, name):
        sampling = name.startswith("sample-")
        cell, *sizes = name.removeprefix("sample-").split("-")
        if cell not in MODULES or len(sizes) != (4 if sampling else 6):
            raise SystemExit(f"error: workload `{name}` is not CELL-V-E-H-L-B-T or sample-CELL-V-E-H-L")
        return cls(cell, *map(int, sizes))


def report(name, threads, **figures):
    """What a script prints, as a dictionary."""
    machine = {"torch": torch.__version__, "isa": torch.backends.cpu.get_cpu_capability()}
    return {"name": name, "threads": threads, **figures, "machine": machine}


def median(values):
    return statistics.median(values)
