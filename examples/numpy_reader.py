#!/usr/bin/env python3
# numpy_reader.py TOKEN -- maps a live array with NumPy, by its token, without a copy: examples/ticker.cpp prints one.
import ast, mmap, os, struct, sys
import numpy as np

class Array:
    def __init__(self, token):
        parts = token.strip().split(":", 13)
        if parts[:2] != ["banyan-shm", "1"]:
            raise ValueError("no token")
        _, _, self.name, kind, _, row_bytes, capacity, generation, pid, _, _, fd, _, descriptor = parts
        if kind != "1":
            raise ValueError("no array")
        with open(f"/proc/{pid}/fd/{fd}", "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if struct.unpack_from("<Q", self.memory, 40)[0] != int(generation):
            raise ValueError("another array than the token says")
        dtype = np.lib.format.descr_to_dtype(ast.literal_eval(descriptor))
        self.all = np.frombuffer(self.memory, dtype, int(capacity), offset=4096)

    def rows(self):  # those that can be read now; the newest may be in the middle of a change
        while True:
            rebase, first = struct.unpack_from("<QQ", self.memory, 128)
            last = struct.unpack_from("<Q", self.memory, 192)[0]
            if rebase % 2 == 0 and rebase == struct.unpack_from("<Q", self.memory, 128)[0]:
                return self.all[first:last]

if __name__ == "__main__":
    rows = Array(sys.argv[1]).rows()
    print(len(rows), "rows of", ", ".join(rows.dtype.names))
    print("mean close %.3f, volume %.0f, last index %d" % (rows["close"].mean(), rows["volume"].sum(), rows["index"][-1]))
