# HOP HOSTS CONFIG: a context on each of these hosts (h1,h2,...), each started through one on HOP, one after the other: as
# Mitogen does it for who just asks. The hop logs in to them by ssh as it is configured there, and we to the hop with this
# configuration. Prints milliseconds from the start to the reply of the last one's first call.
import sys
import time

import mitogen.master

PYTHON = "/usr/bin/python3"


def nothing():
    return None


def main():
    began = time.perf_counter()
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        hop = router.ssh(
            hostname=sys.argv[1], ssh_args=["-F", sys.argv[3]], python_path=PYTHON, compression=False
        )
        contexts = [
            router.ssh(hostname=host, via=hop, python_path=PYTHON, compression=False)
            for host in sys.argv[2].split(",")
        ]
        for reply in [context.call_async(nothing) for context in contexts]:
            reply.get()
        print("%.1f" % ((time.perf_counter() - began) * 1e3))
    finally:
        broker.shutdown()
        broker.join()


if __name__ == "__main__":
    main()
