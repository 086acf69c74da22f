"""Writes the files beside this script, which the tests of `samples` read. Made with NumPy 2.4.6 and Pillow 13.0.0."""

import numpy as np
from numpy.lib import format as npy
from PIL import Image

np.save("float32.npy", np.arange(6, dtype="<f4").reshape(2, 3) - 2.5)
np.save("float64-big-endian.npy", (np.arange(4, dtype=">f8") / 4).reshape(2, 2))
np.save("uint8-fortran.npy", np.asfortranarray(np.arange(24, dtype="u1").reshape(2, 3, 4)))
np.save("int64.npy", np.array([7, 2, 1, 0], dtype="<i8"))
with open("version2.npy", "wb") as file:
    npy.write_array(file, np.array([1.5, -2], "<f4"), version=(2, 0))
np.savez("one.npz", x=np.array([[1, 2]], dtype="u1"))
np.savez_compressed("two.npz", images=np.arange(10, dtype="u1").reshape(2, 5), labels=np.array([3, 4], "<i4"))

grey = np.array([[0, 128, 255], [64, 32, 16]], dtype="u1")
colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
Image.fromarray(grey).save("grey.png")
Image.fromarray(grey > 100).save("bits.png")
Image.fromarray(grey.astype("u2") * 256 + 77).save("grey16.png")
Image.fromarray(colour).save("colour.png")
Image.fromarray(colour).quantize(8).save("palette.png")
opaque = np.dstack([colour, np.full_like(grey, 255)])
Image.fromarray(opaque).save("opaque.png")
opaque[1, 2, 3] = 254
Image.fromarray(opaque).save("transparent.png")
Image.fromarray(np.dstack([grey, np.full_like(grey, 255)])).save("grey-opaque.png")
