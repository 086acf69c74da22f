"""Lattigo v6.2, through the shared library that the `orion-fhe` wheel carries.

The library holds one scheme at a time in global state and hands out small integers for plaintexts and
ciphertexts; `Lattigo` mirrors that, and only what the suites need. The Python half of the wheel is not imported.
"""

import ctypes
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

LIBRARY = Path(sysconfig.get_path("platlib"), "orion", "backend", "lattigo", "lattigo-linux.so")
# Of the Go module inside the wheel, as its go.mod says.
VERSION = "6.2.0"


def run_in_thread(job: Callable[[], None]) -> None:
    """Runs `job` in a thread of its own and waits for it.

    When the main thread enters Go, its runtime asks libc for the bounds of the stack, and libc reads the process's
    memory map for them: some 400 us a call. Other threads know their bounds, and a call costs about 1 us.
    """
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            job()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


class Lattigo:
    """One CKKS scheme with fresh keys; handles are the library's integers."""

    def __init__(self, ring: str, log_degree: int, log_q: list[int], log_p: list[int], log_scale: int):
        """`ring` is `standard` or `conjugate-invariant`; the secret is ternary and dense (two thirds non-zero)."""
        degree = 1 << log_degree
        self.slots = degree if ring == "conjugate-invariant" else degree // 2
        self.top_level = len(log_q) - 1
        self.scale = 1 << log_scale

        library = ctypes.CDLL(str(LIBRARY))
        library.Encode.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_ulong]
        library.SetCiphertextScale.argtypes = [ctypes.c_int, ctypes.c_ulong]
        library.GetCiphertextScale.restype = ctypes.c_ulong
        library.AddScalar.argtypes = [ctypes.c_int, ctypes.c_float]

        class Values(ctypes.Structure):
            _fields_ = [("pointer", ctypes.POINTER(ctypes.c_float)), ("length", ctypes.c_ulong)]

        library.Decode.restype = Values
        library.FreeCArray.argtypes = [ctypes.c_void_p]
        library.NewScheme(
            log_degree,
            (ctypes.c_int * len(log_q))(*log_q),
            len(log_q),
            (ctypes.c_int * len(log_p))(*log_p),
            len(log_p),
            log_scale,
            2 * degree // 3,
            ring.encode(),
            b"",
            b"none",
        )
        library.NewKeyGenerator()
        library.GenerateSecretKey()
        library.GeneratePublicKey()
        library.GenerateRelinearizationKey()
        library.GenerateEvaluationKeys()
        library.NewEncoder()
        library.NewEncryptor()
        library.NewDecryptor()
        library.NewEvaluator()
        self.library = library

    def encode(self, values: np.ndarray) -> int:
        """A plaintext at the top level; `values` holds one `float32` per slot."""
        return self.library.Encode(values.ctypes.data, len(values), self.top_level, self.scale)

    def decode(self, plaintext: int) -> np.ndarray:
        """The values in the slots."""
        values = self.library.Decode(plaintext)
        result = np.ctypeslib.as_array(values.pointer, (values.length,)).astype(np.float64)
        self.library.FreeCArray(values.pointer)
        return result

    def copy(self, ciphertext: int) -> int:
        """An independent ciphertext of the same values, at the level and the scale of this one."""
        return self.library.MulScalarIntNew(ciphertext, 1)

    def close(self) -> None:
        """Frees the scheme and everything made with it."""
        self.library.DeleteScheme()
