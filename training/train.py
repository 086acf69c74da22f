"""Trains the project's networks on MNIST and exports them. See README.md."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import export
import mnist
import networks
import ranges
from balance import balance
from calibrate import calibrate_last
from fit import Recipe, correct, fit

HERE = Path(__file__).parent
ASSETS, MODELS = HERE.parent / "crates/nightloom/assets", HERE.parent / "models"


@dataclass(frozen=True)
class Entry:
    """One network: how it is built and trained, how many of 10,000 test images it must get right, and where it lives."""

    build: Callable[[], nn.Sequential]
    recipe: Recipe
    required: int
    home: Path = ASSETS
    # Whether the last batch normalisation takes its statistics from images without distortion.
    calibrated: bool = False


ENTRIES = {
    "cryptonets": Entry(networks.cryptonets, Recipe(epochs=50, learning_rate=3e-3, weight_decay=0.05), required=9890),
    "e2dm": Entry(networks.e2dm, Recipe(epochs=40, learning_rate=4e-3, weight_decay=0.02), required=9840),
    "lola-small": Entry(
        networks.lola_small, Recipe(epochs=15, learning_rate=4e-3, weight_decay=0.0, worst_case=0.03), required=9690
    ),
    "mlp": Entry(networks.mlp, Recipe(epochs=25, learning_rate=3e-3, weight_decay=0.05, worst_case=0.03), required=9750),
    "lola": Entry(networks.lola, Recipe(epochs=20, learning_rate=4e-3, weight_decay=0.02, worst_case=0.01), required=9800),
    "lenet": Entry(
        networks.lenet,
        Recipe(epochs=5, learning_rate=2e-3, weight_decay=0.02, worst_case=0.005),
        required=9900,
        home=MODELS,
        calibrated=True,
    ),
}


def main() -> int:
    """Runs the command; returns its exit status, 1 if a network stays below its required accuracy."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    data = options.data or HERE / "data"
    try:
        if options.data is None:
            mnist.fetch(data)
        train, test = mnist.load(data, "train"), mnist.load(data, "t10k")
    except mnist.DataError as error:
        sys.exit(str(error))
    names = ENTRIES if options.network == "all" else [options.network]
    reached = [produce(name, train, test, options) for name in names]
    return 0 if all(reached) else 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=[*ENTRIES, "all"], default="all")
    parser.add_argument("--data", type=Path, help="folder with the four MNIST files, plain or .gz (default: get them with npm)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--out", type=Path, default=HERE / "out", help="folder for the results (default: %(default)s)")
    place.add_argument("--ship", action="store_true", help="replace the models that the repository ships")
    parser.add_argument("--epochs", type=int, help="passes over the training images (default: the network's own)")
    parser.add_argument("--hold-out", type=int, default=5000, help="training images kept for choosing a recipe (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="a part of the result: sums are split by thread (default: %(default)s)")
    return parser.parse_args()


def produce(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], options: argparse.Namespace) -> bool:
    """Trains, exports and measures one network; true if it reaches its required accuracy."""
    entry = ENTRIES[name]
    recipe = replace(entry.recipe, epochs=options.epochs) if options.epochs else entry.recipe
    kept = len(train[0]) - options.hold_out
    (images, held_images), (labels, held_labels) = ((part[:kept], part[kept:]) for part in train)
    print(f"{name}: {recipe}, seed {options.seed}, {kept} training images")

    torch.manual_seed(options.seed)
    network = entry.build()
    networks.initialise(network, images[:1000])
    network = fit(network, images, labels, (held_images, held_labels), recipe)
    balance(network, images, by_worst_case=recipe.worst_case > 0)
    export.round_large(network)
    if entry.calibrated:
        calibrate_last(network, images)

    out = entry.home if options.ship else options.out
    out.mkdir(parents=True, exist_ok=True)
    right = write(network, out / f"{name}.onnx", out / f"{name}.reference.npz", test)
    print(f"{name}: {right} of {len(test[1])} test images, required {entry.required}", flush=True)
    return right >= entry.required


def write(network: nn.Sequential, model: Path, reference: Path, test: tuple[Tensor, Tensor]) -> int:
    """Writes and checks the files of `network`, prints its ranges; returns how many of `test` ONNX Runtime gets right."""
    export.write_onnx(network, model)
    logits = export.write_reference(model, test[0], reference)
    difference = export.check_agreement(network, test[0], logits)
    print_ranges(network, test[0])
    print(f"ONNX Runtime differs from the network in double precision by at most {difference:.1e}")
    return correct(torch.from_numpy(logits), test[1])


@torch.no_grad()
def print_ranges(network: nn.Sequential, images: Tensor) -> None:
    """Of each layer with weights: largest and root mean square weight, the same of its outputs on `images`, and the
    largest output that any input in 0..1 could cause."""
    print(f"{'layer':12} {'|w| max':>8} {'rms':>8} {'|bias| max':>10} {'|out| max':>10} {'rms':>8} {'worst case':>11}")
    seen, worst = ranges.observed(network, images), ranges.worst_case(network)
    for (name, layer), values, bounds in zip(network.named_children(), seen, worst, strict=True):
        if hasattr(layer, "weight"):
            weight, bias = layer.weight, layer.bias
            print(
                f"{name:12} {weight.abs().max():8.4f} {rms(weight):8.4f} {bias.abs().max():10.4f}"
                f" {values.largest.max():10.3f} {values.rms:8.4f} {bounds.max():11.4g}"
            )


def rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


if __name__ == "__main__":
    sys.exit(main())
