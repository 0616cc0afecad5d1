# Rows of 56 bytes into shared memory with NumPy and multiprocessing.shared_memory: a slice, then a counter. Prints rows a
# second for pushes of 1 and of 1000 rows.
import time
from multiprocessing import shared_memory

import numpy as np

ROWS = 200_000
dtype = np.dtype([("time", "<i8")] + [(name, "<f8") for name in ("open", "high", "low", "close", "volume", "bar_wap")])
memory = shared_memory.SharedMemory(create=True, size=ROWS * dtype.itemsize + 8)
rows = np.ndarray((ROWS,), dtype, buffer=memory.buf, offset=8)
counter = np.ndarray((1,), "<u8", buffer=memory.buf)
rows[:] = 0
rates = []
for block in (1, 1000):
    new = np.zeros(block, dtype)
    best = 0
    for _ in range(5):
        last = 0
        begin = time.perf_counter()
        while last < ROWS:
            rows[last:last + block] = new
            last += block
            counter[0] = last
        best = max(best, ROWS / (time.perf_counter() - begin))
    rates.append("%.0f" % best)
print(*rates)
del rows, counter
memory.close()
memory.unlink()
