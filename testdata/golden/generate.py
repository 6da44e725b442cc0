"""Writes the goldens: what PyTorch computes in float64, for Refrain to equal.

    python generate.py --out FOLDER

Inputs (weights, states, upstream gradients) are drawn as sums of uniforms rounded to a multiple
of 2^-18. They are the same bits on every machine and exact in float32, and are stored so; what
PyTorch computes from them is stored as float64. README.md in the folder above says what is in each file.
"""

import argparse
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

# Layer goldens. 19 hidden units: one whole group of 16 lanes and a rest.
SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE = 5, 3, 4, 19
LENGTHS = [5, 3, 2]  # of packed sequences
MODULES = {
    "rnn_tanh": lambda *sizes: nn.RNN(*sizes, nonlinearity="tanh"),
    "rnn_relu": lambda *sizes: nn.RNN(*sizes, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}

# Frame encoder goldens: two convolutions, sides that are not even.
FRAMES, HEIGHT, WIDTH, CHANNELS, FEATURES = 3, 9, 11, 2, 19

# Language model goldens.
VOCAB_SIZE, EMBEDDING_SIZE, LM_HIDDEN_SIZE, NUM_LAYERS = 11, 6, 20, 2
STREAMS, CHUNK, STEPS = 4, 7, 10
LEARNING_RATE, CLIP_NORM = 0.01, 0.5

# Encoder-decoder goldens. The targets are given in another order than their sources.
SOURCE_VOCAB_SIZE, TARGET_VOCAB_SIZE = 8, 6
SOURCE_LENGTHS, TARGET_LENGTHS, SOURCE_OF = [5, 3, 2], [4, 3, 1], [1, 2, 0]  # with the end

# Optimiser goldens.
WEIGHTS, WEIGHT_DECAY = 37, 0.25
OPTIMIZERS = {
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, momentum=0.5, **settings),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def draw(*shape, scale=1.0):
    """Nearly normal numbers of standard deviation `scale` (a power of two), exact in float32."""
    uniforms = torch.rand(12, *shape, dtype=torch.float32).double()
    return torch.round((uniforms.sum(0) - 6.0) * 2.0**18) / 2.0**18 * scale


def fill(module, scale):
    """Gives every parameter of a module its own random numbers: no two gates or layers are alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(draw(*parameter.shape, scale=scale))


def stored(inputs, results):
    """One dictionary for a file: inputs as float32 (exact), results as float64."""
    tensors = {}
    for name, value in inputs.items():
        if value.dtype == torch.float64:
            assert torch.equal(value.float().double(), value), name
            value = value.float()
        tensors[name] = value.detach().clone().contiguous()
    for name, value in results.items():
        assert value.dtype == torch.float64 and name not in tensors, name
        tensors[name] = value.detach().clone().contiguous()
    return tensors


def layer(kind, num_layers):
    """A recurrent stack, forward and backward, with a random gradient on each of its outputs."""
    module = MODULES[kind](INPUT_SIZE, HIDDEN_SIZE, num_layers)
    fill(module, scale=0.25)
    lstm = kind == "lstm"
    x = draw(SEQ_LEN, BATCH, INPUT_SIZE).requires_grad_()
    h_0 = draw(num_layers, BATCH, HIDDEN_SIZE, scale=0.5).requires_grad_()
    inputs = {"x": x, "h_0": h_0, **dict(module.named_parameters())}
    if lstm:
        c_0 = draw(num_layers, BATCH, HIDDEN_SIZE).requires_grad_()
        inputs["c_0"] = c_0
        output, (h_n, c_n) = module(x, (h_0, c_0))
        results = {"output": output, "h_n": h_n, "c_n": c_n}
    else:
        output, h_n = module(x, h_0)
        results = {"output": output, "h_n": h_n}
    upstream = {f"d_{name}": draw(*value.shape) for name, value in results.items()}
    loss = sum((value * upstream[f"d_{name}"]).sum() for name, value in results.items())
    loss.backward()
    results.update({f"d_{name}": value.grad for name, value in inputs.items()})
    return stored({**inputs, **upstream}, results)


def with_gradients(inputs, results):
    """Inputs, results, a random gradient on each of these and from them those of the inputs."""
    upstream = {f"d_{name}": draw(*value.shape) for name, value in results.items()}
    loss = sum((value * upstream[f"d_{name}"]).sum() for name, value in results.items())
    loss.backward()
    gradients = {f"d_{name}": value.grad for name, value in inputs.items() if value.requires_grad}
    return stored({**inputs, **upstream}, {**results, **gradients})


def packed(data):
    """Sequences of LENGTHS, step after step, as PyTorch packs them."""
    batch_sizes = torch.tensor([sum(length > t for length in LENGTHS) for t in range(max(LENGTHS))])
    return nn.utils.rnn.PackedSequence(data, batch_sizes)


def bidirectional(kind):
    """Two layers in both directions over packed sequences of different lengths."""
    module = MODULES[kind](INPUT_SIZE, HIDDEN_SIZE, 2, bidirectional=True)
    fill(module, scale=0.25)
    x = draw(sum(LENGTHS), INPUT_SIZE).requires_grad_()
    h_0 = draw(4, BATCH, HIDDEN_SIZE, scale=0.5).requires_grad_()
    inputs = {"x": x, "h_0": h_0, **dict(module.named_parameters())}
    if kind == "lstm":
        c_0 = draw(4, BATCH, HIDDEN_SIZE).requires_grad_()
        inputs["c_0"] = c_0
        output, (h_n, c_n) = module(packed(x), (h_0, c_0))
        results = {"output": output.data, "h_n": h_n, "c_n": c_n}
    else:
        output, h_n = module(packed(x), h_0)
        results = {"output": output.data, "h_n": h_n}
    return with_gradients(inputs, results)


def layer_norm(kind):
    """One layer with layer norm inside the cell, in plain operations."""
    gates = {"rnn_tanh": 1, "gru": 3, "lstm": 4}[kind]
    size = gates * HIDDEN_SIZE
    inputs = {
        "x": draw(SEQ_LEN, BATCH, INPUT_SIZE),
        "h_0": draw(1, BATCH, HIDDEN_SIZE, scale=0.5),
        "weight_ih_l0": draw(size, INPUT_SIZE, scale=0.25),
        "weight_hh_l0": draw(size, HIDDEN_SIZE, scale=0.25),
        "bias_ih_l0": draw(size, scale=0.25),
        "bias_hh_l0": draw(size, scale=0.25),
        "layer_norm_ih_l0.weight": 1 + draw(size, scale=0.25),
        "layer_norm_hh_l0.weight": 1 + draw(size, scale=0.25),
    }
    if kind == "lstm":
        inputs["c_0"] = draw(1, BATCH, HIDDEN_SIZE)
        inputs["layer_norm_c_l0.weight"] = 1 + draw(HIDDEN_SIZE, scale=0.25)
        inputs["layer_norm_c_l0.bias"] = draw(HIDDEN_SIZE, scale=0.25)
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}

    def norm(sums, name, bias):
        return nn.functional.layer_norm(sums, sums.shape[-1:], inputs[f"{name}.weight"], inputs[bias])

    h, c, outputs = inputs["h_0"][0], inputs["c_0"][0] if kind == "lstm" else None, []
    for x in inputs["x"]:
        a_x = norm(x @ inputs["weight_ih_l0"].T, "layer_norm_ih_l0", "bias_ih_l0")
        a_h = norm(h @ inputs["weight_hh_l0"].T, "layer_norm_hh_l0", "bias_hh_l0")
        if kind == "rnn_tanh":
            h = torch.tanh(a_x + a_h)
        elif kind == "gru":
            (r_x, z_x, n_x), (r_h, z_h, n_h) = a_x.chunk(3, 1), a_h.chunk(3, 1)
            r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
            h = (1 - z) * torch.tanh(n_x + r * n_h) + z * h
        else:
            i, f, g, o = (a_x + a_h).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            shown = norm(c, "layer_norm_c_l0", "layer_norm_c_l0.bias")
            h = torch.sigmoid(o) * torch.tanh(shown)
        outputs.append(h)
    results = {"output": torch.stack(outputs), "h_n": h[None]}
    if kind == "lstm":
        results["c_n"] = c[None]
    return with_gradients(inputs, results)


def batch_norm():
    """Batch norm on the packed rows between two LSTM layers, in training and in evaluation."""
    lower, upper = nn.LSTM(INPUT_SIZE, HIDDEN_SIZE), nn.LSTM(HIDDEN_SIZE, HIDDEN_SIZE)
    norm = nn.BatchNorm1d(HIDDEN_SIZE)
    for module in (lower, upper, norm):
        fill(module, scale=0.25)
    with torch.no_grad():
        norm.weight.add_(1.0)
        norm.running_mean.copy_(draw(HIDDEN_SIZE, scale=0.25))
        norm.running_var.copy_(0.5 + draw(HIDDEN_SIZE, scale=0.25).abs())
    x = draw(sum(LENGTHS), INPUT_SIZE).requires_grad_()
    inputs = {"x": x, **dict(lower.named_parameters())}
    inputs |= {name.replace("l0", "l1"): value for name, value in upper.named_parameters()}
    inputs |= {f"batch_norm_l0.{name}": value for name, value in norm.named_parameters()}
    buffers = {f"batch_norm_l0.running_{part}": getattr(norm, f"running_{part}") for part in ("mean", "var")}
    first = {name: value.clone() for name, value in buffers.items()}

    def run():
        output, _ = lower(packed(x))
        return upper(packed(norm(output.data)))[0].data

    norm.eval()
    evaluated = run().detach()
    norm.train()
    tensors = with_gradients(inputs, {"output": run()})
    final = {f"final.{name}": value for name, value in buffers.items()}
    return {**tensors, **stored(first, {**final, "evaluated": evaluated})}


def linear_cross_entropy():
    """A linear layer under a mean cross-entropy."""
    rows, features, classes = 6, 7, 21
    module = nn.Linear(features, classes)
    fill(module, scale=0.5)
    x = draw(rows, features).requires_grad_()
    targets = torch.randint(classes, (rows,))
    logits = module(x)
    logits.retain_grad()
    loss = nn.functional.cross_entropy(logits, targets)
    loss.backward()
    inputs = {"x": x, "weight": module.weight, "bias": module.bias}
    results = {"logits": logits, "loss": loss, "d_logits": logits.grad}
    results.update({f"d_{name}": value.grad for name, value in inputs.items()})
    return stored({**inputs, "targets": targets}, results)


class FrameEncoder(nn.Module):
    """Convolutions with rectifier and max-pool, then a linear layer on the picture, channels last."""

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(CHANNELS, 16, 3, padding=1)
        self.conv1 = nn.Conv2d(16, 32, 3, padding=1)
        height, width = -(-HEIGHT // 4), -(-WIDTH // 4)
        self.linear = nn.Linear(height * width * 32, FEATURES)

    def forward(self, frames):
        x = frames.permute(0, 3, 1, 2)
        for conv in (self.conv0, self.conv1):
            x = nn.functional.max_pool2d(torch.relu(conv(x)), 2, ceil_mode=True)
        return torch.relu(self.linear(x.permute(0, 2, 3, 1).flatten(1)))


def frame_encoder():
    """Frames to features, with a random gradient on these."""
    torch.manual_seed(101)  # whatever its place in the list
    module = FrameEncoder()
    fill(module, scale=0.25)
    frames = draw(FRAMES, HEIGHT, WIDTH, CHANNELS)
    output = module(frames)
    d_output = draw(*output.shape)
    (output * d_output).sum().backward()
    parameters = dict(module.named_parameters())
    results = {f"d_{name}": value.grad for name, value in parameters.items()}
    return stored({"frames": frames, "d_output": d_output, **parameters}, {"output": output, **results})


def feed_forward(nonlinearity):
    """Three linear layers, each with an activation, and a random gradient on the last."""
    torch.manual_seed(102)  # whatever its place in the list
    sizes = [INPUT_SIZE] + 3 * [HIDDEN_SIZE]
    layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))
    fill(layers, scale=0.5)
    x = draw(SEQ_LEN * BATCH, INPUT_SIZE).requires_grad_()
    output = x
    for layer in layers:
        output = getattr(torch, nonlinearity)(layer(output))
    d_output = draw(*output.shape)
    (output * d_output).sum().backward()
    inputs = {"x": x, **dict(layers.named_parameters())}
    results = {f"d_{name}": value.grad for name, value in inputs.items()}
    return stored({**inputs, "d_output": d_output}, {"output": output, **results})


class LanguageModel(nn.Module):
    """Embedding, recurrent stack, linear: the names are those of a Refrain model file."""

    def __init__(self, cell, embedding_size, tied):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, embedding_size)
        module = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.rnn = module(embedding_size, LM_HIDDEN_SIZE, NUM_LAYERS)
        self.linear = nn.Linear(LM_HIDDEN_SIZE, VOCAB_SIZE)
        if tied:
            self.linear.weight = self.embedding.weight

    def forward(self, tokens, state):
        output, state = self.rnn(self.embedding(tokens), state)
        return self.linear(output), state


def detach(state):
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def language_model(cell, tied=False):
    """Ten steps of truncated backpropagation with Adam, clipping and a carried state."""
    model = LanguageModel(cell, LM_HIDDEN_SIZE if tied else EMBEDDING_SIZE, tied)
    # The scales let some of the ten gradients pass CLIP_NORM and some not (the vanilla cell's all do).
    fill(model, scale=0.5 if cell == "lstm" else 0.25)
    names = model.state_dict().keys()  # a tied weight is under both of its names
    inputs = {name: model.state_dict()[name].clone() for name in names}
    inputs["tokens"] = torch.randint(VOCAB_SIZE, (STREAMS, STEPS * CHUNK + 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses, grad_norms, state = [], [], None
    for step in range(STEPS):
        chunk = inputs["tokens"][:, step * CHUNK : (step + 1) * CHUNK + 1].T
        logits, state = model(chunk[:-1], state)
        state = detach(state)
        loss = nn.functional.cross_entropy(logits.reshape(-1, VOCAB_SIZE), chunk[1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norms.append(nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM))
        optimizer.step()
        losses.append(loss.detach())
    results = {"losses": torch.stack(losses), "grad_norms": torch.stack(grad_norms)}
    results.update({f"final.{name}": model.state_dict()[name] for name in names})
    return stored(inputs, results)


class EncoderDecoder(nn.Module):
    """Both directions of an encoder, a bridge, a decoder, attention: the names are those of a Refrain model file."""

    def __init__(self, cell, attention):
        super().__init__()
        recurrent, encoded = {"gru": nn.GRU, "lstm": nn.LSTM}[cell], 2 * HIDDEN_SIZE
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.kind = attention
        self.encoder = nn.ModuleDict({
            "embedding": nn.Embedding(SOURCE_VOCAB_SIZE, EMBEDDING_SIZE),
            "rnn": recurrent(EMBEDDING_SIZE, HIDDEN_SIZE, bidirectional=True),
        })
        states = ("h", "c") if cell == "lstm" else ("h",)
        self.decoder = nn.ModuleDict({
            "embedding": nn.Embedding(TARGET_VOCAB_SIZE + 1, EMBEDDING_SIZE),
            "bridge": nn.ModuleDict({f"{state}_l0": nn.Linear(encoded, HIDDEN_SIZE) for state in states}),
            "rnn": recurrent(EMBEDDING_SIZE, HIDDEN_SIZE),
        })
        parts = {
            "none": {},
            "dot": {},
            "general": {"query": linear(HIDDEN_SIZE, encoded)},
            "additive": {"query": linear(HIDDEN_SIZE, HIDDEN_SIZE), "key": linear(encoded, HIDDEN_SIZE)},
        }[attention]
        if attention == "additive":
            parts["score"] = nn.Module()
            parts["score"].weight = nn.Parameter(torch.zeros(HIDDEN_SIZE))
        if attention != "none":
            parts["combine"] = linear(encoded + HIDDEN_SIZE, HIDDEN_SIZE)
        self.attention = nn.ModuleDict(parts)
        self.linear = nn.Linear(HIDDEN_SIZE, TARGET_VOCAB_SIZE + 1)

    def attend(self, h, states):
        """What comes of each step of a target (T, hidden) that sees a source (S, 2 hidden), and the alignment (T, S)."""
        if self.kind == "dot":
            scores = h @ (states[:, :HIDDEN_SIZE] + states[:, HIDDEN_SIZE:]).T
        elif self.kind == "general":
            scores = self.attention["query"](h) @ states.T
        else:
            sums = self.attention["query"](h)[:, None] + self.attention["key"](states)[None]
            scores = torch.tanh(sums) @ self.attention["score"].weight
        weights = torch.softmax(scores, 1)
        return torch.tanh(self.attention["combine"](torch.cat([weights @ states, h], 1))), weights

    def forward(self, sources, targets):
        """For each target its scores and its alignment: the boundary is read first, then the target."""
        vectors = [self.encoder["embedding"](source) for source in sources]
        output, last = self.encoder["rnn"](nn.utils.rnn.pack_sequence(vectors))
        output, lengths = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
        last = last[0] if isinstance(last, tuple) else last
        summary = torch.cat([last[0], last[1]], 1)
        scores, alignments = [], []
        for target, source in zip(targets, SOURCE_OF):
            bridge = self.decoder["bridge"]
            state = torch.tanh(bridge["h_l0"](summary[source]))[None]
            if "c_l0" in bridge:
                state = (state, bridge["c_l0"](summary[source])[None])
            boundary = torch.tensor([TARGET_VOCAB_SIZE])
            h, _ = self.decoder["rnn"](self.decoder["embedding"](torch.cat([boundary, target])), state)
            if self.kind != "none":
                h, weights = self.attend(h, output[source, : lengths[source]])
                alignments.append(nn.functional.pad(weights, (0, max(SOURCE_LENGTHS) - weights.shape[1])))
            scores.append(self.linear(h))
        return scores, alignments


def step_after_step(sequences):
    """Rows of the sequences as they are packed: all first ones, all second ones."""
    return torch.stack([s[t] for t in range(max(map(len, sequences))) for s in sequences if t < len(s)])


def encoder_decoder(cell, attention):
    """Scores, alignment, mean loss and gradients of an encoder-decoder under teacher forcing."""
    model = EncoderDecoder(cell, attention)
    fill(model, scale=0.25)
    sources = [torch.randint(SOURCE_VOCAB_SIZE, (length,)) for length in SOURCE_LENGTHS]
    targets = [torch.randint(TARGET_VOCAB_SIZE, (length - 1,)) for length in TARGET_LENGTHS]
    scores, alignments = model(sources, targets)
    boundary = torch.tensor([TARGET_VOCAB_SIZE])
    wanted = step_after_step([torch.cat([target, boundary]) for target in targets])
    results = {"scores": step_after_step(scores)}
    results["loss"] = nn.functional.cross_entropy(results["scores"], wanted)
    results["loss"].backward()
    if alignments:
        results["alignment"] = step_after_step(alignments)
    parameters = dict(model.named_parameters())
    inputs = {
        **parameters,
        "sources": step_after_step(sources),
        "inputs": step_after_step([torch.cat([boundary, target]) for target in targets]),
        "targets": wanted,
    }
    return stored(inputs, {**results, **{f"d_{name}": value.grad for name, value in parameters.items()}})


def optimizers():
    """Ten steps of every rule from the same weights with the same gradients, with weight decay."""
    inputs = {"weight": draw(WEIGHTS), "gradients": draw(STEPS, WEIGHTS, scale=0.5)}
    results = {}
    for name, rule in OPTIMIZERS.items():
        weight = nn.Parameter(inputs["weight"].clone())
        optimizer = rule([weight], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        weights = []
        for gradient in inputs["gradients"]:
            weight.grad = gradient.clone()
            optimizer.step()
            weights.append(weight.detach().clone())
        results[name] = torch.stack(weights)
    return stored(inputs, results)


def forecast_losses():
    """Each loss of a forecast and its gradient: four answers of three steps of two numbers."""
    answers, steps, numbers = 4, 3, 2
    shape = (answers, steps * numbers)
    inputs, results = {}, {}
    for name in ("mse", "mae", "gaussian", "bernoulli"):
        targets = draw(*shape)
        if name == "bernoulli":
            targets = (targets > 0).double()
        width = 2 if name == "gaussian" else 1
        outputs = draw(answers, width * steps * numbers).requires_grad_()
        if name == "mse":
            loss = nn.functional.mse_loss(outputs, targets)
        elif name == "mae":
            loss = nn.functional.l1_loss(outputs, targets)
        elif name == "gaussian":
            mean, log_variance = outputs.chunk(2, dim=1)
            nll = nn.functional.gaussian_nll_loss(mean, targets, log_variance.exp(), full=True, reduction="sum")
            loss = nll / (answers * steps)
        else:
            nll = nn.functional.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")
            loss = nll / (answers * steps)
        loss.backward()
        inputs |= {f"{name}.outputs": outputs, f"{name}.targets": targets}
        results |= {f"{name}.loss": loss, f"{name}.d_outputs": outputs.grad}
    return stored(inputs, results)


def forecaster():
    """An LSTM whose last state gives three steps of two of its four numbers, and a linear layer of their own past beside it."""
    horizon, columns = 3, [1, 3]
    rnn = nn.LSTM(INPUT_SIZE, HIDDEN_SIZE)
    linear = nn.Linear(HIDDEN_SIZE, horizon * len(columns))
    shortcut = nn.Linear(SEQ_LEN, horizon)
    parameters = {
        f"{owner}.{name}": value
        for owner, module in {"rnn": rnn, "linear": linear, "shortcut": shortcut}.items()
        for name, value in module.named_parameters()
    }
    for module in (rnn, linear, shortcut):
        fill(module, scale=0.25)
    x = draw(SEQ_LEN, BATCH, INPUT_SIZE)
    targets = draw(BATCH, horizon * len(columns))
    answers = linear(rnn(x)[0][-1]).view(BATCH, horizon, len(columns))
    answers = answers + shortcut(x[:, :, columns].permute(1, 2, 0)).transpose(1, 2)
    answers = answers.reshape(BATCH, -1)
    loss = nn.functional.mse_loss(answers, targets)
    loss.backward()
    results = {"answers": answers, "loss": loss, **{f"d_{name}": value.grad for name, value in parameters.items()}}
    return stored({"x": x, "targets": targets, **parameters}, results)


def goldens():
    """Every file by name, as a function that makes it."""
    for kind in MODULES:
        for num_layers in (1, 2, 3):
            yield f"layer_{kind}_{num_layers}", lambda k=kind, n=num_layers: layer(k, n)
    yield "linear_cross_entropy", linear_cross_entropy
    for cell in ("rnn", "gru", "lstm"):
        yield f"language_model_{cell}", lambda c=cell: language_model(c)
    yield "language_model_tied", lambda: language_model("lstm", tied=True)
    yield "optimizers", optimizers
    yield "frame_encoder", frame_encoder
    for nonlinearity in ("tanh", "relu"):
        yield f"feed_forward_{nonlinearity}", lambda n=nonlinearity: feed_forward(n)
    for kind in ("gru", "lstm"):
        yield f"bidirectional_{kind}", lambda k=kind: bidirectional(k)
    for kind in ("rnn_tanh", "gru", "lstm"):
        yield f"layer_norm_{kind}", lambda k=kind: layer_norm(k)
    yield "batch_norm", batch_norm
    yield "forecast_losses", forecast_losses
    yield "forecaster", forecaster
    for cell, attention in (("lstm", "none"), ("gru", "dot"), ("lstm", "general"), ("gru", "additive")):
        yield f"encoder_decoder_{attention}", lambda c=cell, a=attention: encoder_decoder(c, a)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, make in goldens():
        torch.manual_seed(zlib.crc32(name.encode()) + 1)  # of its name alone, so that a new file moves no other
        save_file(make(), out / f"{name}.safetensors")


if __name__ == "__main__":
    main()
