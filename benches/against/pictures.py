"""Training a classifier of pictures, read row by row, in PyTorch, beside `refrain train classify` with the same data.

    python pictures.py TRAIN --validation FILE --test FILE --settings settings.json --threads 2

Files: pictures of IDX, `NAME-images-idx3-ubyte`, whose labels lie beside them as `NAME-labels-idx1-ubyte`. Prints as
classify.py does.
"""

import numpy as np
import torch
from torch import nn

from labels import Examples, Labeller, arguments, fail, train


def read(path):
    """Pictures (count, height, width) and their labels."""
    if "images-idx3" not in path.name:
        fail(f"`{path}` is not named NAME-images-idx3-ubyte")
    shape = np.frombuffer(path.read_bytes()[4:16], dtype=">u4")
    pictures = np.frombuffer(path.read_bytes(), dtype=np.uint8, offset=16).reshape(shape)
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    return pictures, np.frombuffer(labels.read_bytes(), dtype=np.uint8, offset=8)


def main():
    args, settings = arguments(__doc__)
    parts = {name: read(getattr(args, name)) for name in ("train", "validation", "test")}
    pictures, labels = parts["train"]
    mean, std = pictures.mean(), pictures.std()

    def examples(pictures, labels):
        count, height, width = pictures.shape
        rows = torch.from_numpy(((pictures - mean) / std).astype(np.float32)).reshape(-1, width)
        return Examples(rows, [height] * count, torch.from_numpy(labels.astype(np.int64)), per_step=False)

    classes, width = int(labels.max()) + 1, pictures.shape[2]
    model = Labeller(settings, nn.Identity(), width, classes, per_step=False)
    train(args, settings, model, {name: examples(*part) for name, part in parts.items()})


if __name__ == "__main__":
    main()
