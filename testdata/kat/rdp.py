"""Writes rdp.csv: epsilons of the Poisson-subsampled Gaussian mechanism by dp-accounting 0.6.0 (PyPI, Apache-2.0)."""

from importlib.metadata import version

import dp_accounting
from dp_accounting.rdp import RdpAccountant

CASES = [
    (rate, noise, steps, delta)
    for rate, noise, steps in [
        (1.0, 4.0, 1), (1.0, 8.0, 40), (0.5, 6.0, 200), (0.1, 3.0, 500),
        (0.01, 0.8, 200), (0.01, 1.0, 1000), (0.01, 4.0, 10000), (256 / 60000, 1.1, 3516),
        (256 / 60000, 0.7, 469), (0.001, 0.6, 1000), (0.001, 2.0, 100000), (0.0005, 1.3, 50),
    ]
    for delta in (1e-5, 1e-8)
]

with open("rdp.csv", "w") as out:
    print(f"# dp-accounting {version('dp-accounting')}, RdpAccountant with its default orders; written by rdp.py", file=out)
    print("rate,noise_multiplier,steps,delta,epsilon", file=out)
    for rate, noise, steps, delta in CASES:
        accountant = RdpAccountant()
        event = dp_accounting.GaussianDpEvent(noise)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, event), steps)
        print(f"{rate!r},{noise!r},{steps},{delta!r},{accountant.get_epsilon(delta):.12g}", file=out)
