"""Tests of what the peers are given: layers, weights, images. They need numpy, so an environment of a peer:

peers/.venv/tenseal/bin/python -m unittest discover peers/tests
"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

try:
    import numpy as np

    from side_by_side import network, onnx_file
except ModuleNotFoundError as error:
    raise unittest.SkipTest("numpy is not installed") from error

IMAGES = 3


def evaluate(layers: list[onnx_file.Layer], images: np.ndarray) -> np.ndarray:
    """What the layers mean, by their definitions; `images` are `[images, channels, rows, columns]`."""
    values = images
    for layer in layers:
        weights = layer.weights
        match layer.kind:
            case "convolution":
                padding, size = layer.padding, weights["weight"].shape[-1]
                padded = np.pad(values, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
                windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
                windows = windows[:, :, :: layer.stride, :: layer.stride]
                values = np.einsum("nchwij,ocij->nohw", windows, weights["weight"]) + weights["bias"][:, None, None]
            case "dense":
                values = values @ weights["weight"].T + weights["bias"]
            case "normalisation":
                scale = weights["weight"] / np.sqrt(weights["running_var"] + layer.epsilon)
                values = (values - weights["running_mean"]) * scale + weights["bias"]
            case "square":
                values = values**2
            case "flatten":
                values = values.reshape(len(values), -1)
    return values


class Models(unittest.TestCase):
    def test_layers_give_the_logits_of_onnx_runtime(self):
        inputs, _ = network.images(IMAGES)
        for name in ("e2dm", "cryptonets", "lola", "lola-small", "mlp", "lenet"):
            with self.subTest(name):
                layers = onnx_file.layers(network.model_file(name).read_bytes())
                logits = evaluate(layers, inputs.reshape(-1, 1, network.SIDE, network.SIDE))
                np.testing.assert_allclose(logits, network.reference(name)[:IMAGES], atol=1e-4)

    def test_networks_of_the_batch_suites_give_them_too(self):
        inputs, _ = network.images(IMAGES)
        for name in network.SHAPES:
            with self.subTest(name):
                logits = network.load(name).evaluate(inputs)
                np.testing.assert_allclose(logits, network.reference(name)[:IMAGES], atol=1e-4)

    def test_a_network_that_is_not_shipped_is_named(self):
        with self.assertRaisesRegex(FileNotFoundError, "absent.onnx"):
            network.model_file("absent")


class MaxError(unittest.TestCase):
    clear = np.array([[10.0, -4.0, 1.0], [0.5, 3.0, 9.0]])

    def test_it_is_the_largest_difference(self):
        logits = self.clear + [[0.0, 0.5, 0.0], [0.0, 0.0, -1.5]]
        self.assertAlmostEqual(network.max_error("test", self.clear, logits), 1.5)

    def test_wrong_results_are_failures(self):
        lost_class, wrapped, missing = self.clear.copy(), self.clear.copy(), self.clear.copy()
        lost_class[1] = [0.5, 9.0, 8.9]
        wrapped[0, 1] += 3.0
        missing[0, 2] = np.nan
        for logits in (lost_class, wrapped, missing):
            with self.assertRaisesRegex(RuntimeError, "test: logits are wrong"):
                network.max_error("test", self.clear, logits)


if __name__ == "__main__":
    unittest.main()
