# HOPS: a context of this machine behind so many others, through Mitogen. Prints, on one line: the median of a call's
# round trip and its 99th percentile in microseconds, calls a second with a thousand outstanding, and MB a second of
# messages of 128 KiB that it sends up.
import collections
import sys
import time

import mitogen.core
import mitogen.master

PYTHON = "/usr/bin/python3"
OUTSTANDING = 1000
MESSAGE_BYTES = 128 << 10


def nothing():
    return None


def send_up(sender, count):
    blob = mitogen.core.Blob(b"\0" * MESSAGE_BYTES)
    for _ in range(count):
        sender.send(blob)
    return count


def round_trips(context, count):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        context.call(nothing)
        times.append(time.perf_counter() - began)
    times.sort()
    return times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


def calls_a_second(context, count):
    waiting = collections.deque()
    began = time.perf_counter()
    for _ in range(count):
        waiting.append(context.call_async(nothing))
        if len(waiting) >= OUTSTANDING:
            waiting.popleft().get().unpickle()
    while waiting:
        waiting.popleft().get().unpickle()
    return count / (time.perf_counter() - began)


def rate_up(router, context, count):
    receiver = mitogen.core.Receiver(router)
    began = time.perf_counter()
    sent = context.call_async(send_up, receiver.to_sender(), count)
    for _ in range(count):
        receiver.get().unpickle()
    took = time.perf_counter() - began
    sent.get().unpickle()
    return count * MESSAGE_BYTES / took / 1e6


def main():
    hops = int(sys.argv[1])
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        context = router.local(python_path=PYTHON)
        for _ in range(hops):
            context = router.local(via=context, python_path=PYTHON)
        round_trips(context, 200)
        middle, late = round_trips(context, 2000)
        calls = calls_a_second(context, 20000)
        rate_up(router, context, 16)
        print("%.1f %.1f %.0f %.1f" % (middle, late, calls, rate_up(router, context, 512)))
    finally:
        broker.shutdown()
        broker.join()


if __name__ == "__main__":
    main()
