"""Writes what PyTorch's autograd and NumPy say of the inside of models, for `refrain inspect` to equal.

    python generate.py --out FOLDER

Inputs are drawn as in ../golden/generate.py: exact in float32, stored so. README.md in the folder above says what is in
each file.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

VOCAB_SIZE, EMBEDDING_SIZE, HIDDEN_SIZE, NUM_LAYERS = 11, 6, 19, 2
TOKENS, POSITIONS = 40, [3, 17, 39]
SEQ_LEN, FEATURES, CLASSES, STEP = 9, 5, 4, 3
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
GATES = {"rnn": ["h"], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o"]}


def draw(*shape, scale=1.0):
    """Nearly normal numbers of standard deviation `scale` (a power of two), exact in float32."""
    uniforms = torch.rand(12, *shape, dtype=torch.float32).double()
    return torch.round((uniforms.sum(0) - 6.0) * 2.0**18) / 2.0**18 * scale


def cells(kind, sizes, scale=0.25):
    """One cell for each input size, with random numbers of its own."""
    made = [CELLS[kind](size, HIDDEN_SIZE) for size in sizes]
    with torch.no_grad():
        for cell in made:
            for parameter in cell.parameters():
                parameter.copy_(draw(*parameter.shape, scale=scale))
    return made


def named(cell, suffix):
    """A cell's parameters under the names of a model file."""
    return {f"rnn.{name}_{suffix}": value for name, value in cell.named_parameters()}


def run(cell, inputs):
    """A loop over the inputs; every state keeps its gradient. Gives the states, those of an LSTM as pairs."""
    state, states = None, []
    for x in inputs:
        state = cell(x.unsqueeze(0), state)
        for part in state if isinstance(state, tuple) else (state,):
            part.retain_grad()
        states.append(state)
    return states


def hidden(states):
    return [state[0] if isinstance(state, tuple) else state for state in states]


def norms(states, order):
    """The norms of the gradients of h, and of an LSTM's c, in the given order of steps; 0 where none came."""
    parts = {"h": hidden(states)}
    if isinstance(states[0], tuple):
        parts["c"] = [state[1] for state in states]
    norm = lambda part: torch.zeros(()) if part.grad is None else part.grad.norm()
    return {name: torch.stack([norm(part[t]) for t in order]) for name, part in parts.items()}


def stored(inputs, results):
    tensors = {}
    for name, value in inputs.items():
        if value.dtype == torch.float64:
            assert torch.equal(value.float().double(), value), name
            value = value.float()
        tensors[name] = value.detach().clone().contiguous()
    for name, value in results.items():
        tensors[name] = value.detach().clone().contiguous()
    return tensors


def language_model(kind):
    """The loss of single tokens, carried back to every state and every token's vector before it."""
    layers = cells(kind, [EMBEDDING_SIZE, HIDDEN_SIZE])
    embedding = draw(VOCAB_SIZE, EMBEDDING_SIZE)
    weight, bias = draw(VOCAB_SIZE, HIDDEN_SIZE, scale=0.5), draw(VOCAB_SIZE, scale=0.5)
    tokens = torch.randint(VOCAB_SIZE, (TOKENS,))
    inputs = {"embedding.weight": embedding, "linear.weight": weight, "linear.bias": bias, "tokens": tokens}
    for at, cell in enumerate(layers):
        inputs |= named(cell, f"l{at}")
    results = {}
    for position in POSITIONS:
        vectors = [embedding[token].clone().requires_grad_() for token in tokens[:position]]
        below, stacks = vectors, []
        for cell in layers:
            stacks.append(run(cell, below))
            below = [h.squeeze(0) for h in hidden(stacks[-1])]
        logits = below[-1] @ weight.T + bias
        loss = nn.functional.cross_entropy(logits, tokens[position])
        loss.backward()
        back = range(position - 1, -1, -1)
        results[f"{position}.loss"] = loss
        results[f"{position}.inputs"] = torch.stack([vectors[t].grad.norm() for t in back])
        for at, states in enumerate(stacks):
            for state, found in norms(states, back).items():
                results[f"{position}.rnn_l{at}.{state}"] = found
    return stored(inputs, results)


def tagger(kind):
    """Two layers in both directions; the loss of one step's label, carried back to the states of all of them."""
    sizes = [FEATURES, 2 * HIDDEN_SIZE]
    forward, reverse = cells(kind, sizes), cells(kind, sizes)
    weight, bias = draw(CLASSES, 2 * HIDDEN_SIZE, scale=0.5), draw(CLASSES, scale=0.5)
    x, label = draw(SEQ_LEN, FEATURES), torch.tensor([2])
    inputs = {"x": x, "label": label, "linear.weight": weight, "linear.bias": bias}
    below, stacks = list(x), []
    for at, (there, back) in enumerate(zip(forward, reverse)):
        inputs |= named(there, f"l{at}") | named(back, f"l{at}_reverse")
        there, back = run(there, below), run(back, below[::-1])[::-1]
        stacks.append((there, back))
        below = [torch.cat(pair, 1).squeeze(0) for pair in zip(hidden(there), hidden(back))]
    loss = nn.functional.cross_entropy((below[STEP] @ weight.T + bias).unsqueeze(0), label)
    loss.backward()
    results = {"loss": loss}
    for at, (there, back) in enumerate(stacks):
        for state, found in norms(there, range(STEP, -1, -1)).items():
            results[f"rnn_l{at}.{state}"] = found
        for state, found in norms(back, range(STEP, SEQ_LEN)).items():
            results[f"rnn_l{at}_reverse.{state}"] = found
    return stored(inputs, results)


def spectrum(kind):
    """Singular values and spectral radius of a layer's recurrent matrices, by NumPy."""
    (cell,) = cells(kind, [FEATURES])
    results = {}
    for gate, matrix in zip(GATES[kind], cell.weight_hh.detach().numpy().reshape(-1, HIDDEN_SIZE, HIDDEN_SIZE)):
        results[f"{gate}.singular_values"] = torch.from_numpy(np.linalg.svd(matrix, compute_uv=False))
        results[f"{gate}.spectral_radius"] = torch.tensor(np.abs(np.linalg.eigvals(matrix)).max())
    return stored({"weight_hh": cell.weight_hh}, results)


def goldens():
    """Every file by name, as a function that makes it."""
    for kind in CELLS:
        yield f"gradients_{kind}", lambda k=kind: language_model(k)
        yield f"spectrum_{kind}", lambda k=kind: spectrum(k)
    for kind in ("gru", "lstm"):
        yield f"gradients_tagger_{kind}", lambda k=kind: tagger(k)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, make in goldens():
        torch.manual_seed(zlib.crc32(name.encode()) + 1)
        save_file(make(), out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
