# HOSTS TRIPS CONFIG: a context on the last of these hosts (A,B,C), each started through the one before, which logs in by
# ssh as it is configured there; the first with this configuration. Prints, on one line: milliseconds from the start to the
# reply of the first call, and the median of TRIPS further calls in microseconds.
import sys
import time

import mitogen.master

PYTHON = "/usr/bin/python3"


def nothing():
    return None


def main():
    hosts, trips = sys.argv[1].split(","), int(sys.argv[2])
    began = time.perf_counter()
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        context, arguments = None, ["-F", sys.argv[3]]
        for host in hosts:
            context = router.ssh(
                hostname=host, via=context, ssh_args=arguments, python_path=PYTHON, compression=False
            )
            arguments = []
        context.call(nothing)
        up = time.perf_counter() - began
        times = []
        for _ in range(trips):
            began = time.perf_counter()
            context.call(nothing)
            times.append(time.perf_counter() - began)
        times.sort()
        print("%.1f %.1f" % (up * 1e3, times[len(times) // 2] * 1e6))
    finally:
        broker.shutdown()
        broker.join()


if __name__ == "__main__":
    main()
