# CONFIG HOSTS AT_ONCE: runs `true` on the hosts h1, h2, ... of an ssh configuration through Mitogen, so many at a time.
import concurrent.futures
import subprocess
import sys

import mitogen.master


def run_true(router, config, number):
    context = router.ssh(
        hostname="h%d" % number,
        ssh_args=["-F", config],
        python_path="/usr/bin/python3",
        compression=False,
        connect_timeout=60,
    )
    return context.call(subprocess.call, ["true"])


def main():
    config, hosts, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    broker = mitogen.master.Broker()
    router = mitogen.master.Router(broker)
    try:
        with concurrent.futures.ThreadPoolExecutor(min(at_once, hosts)) as pool:
            codes = list(pool.map(lambda number: run_true(router, config, number), range(1, hosts + 1)))
    finally:
        broker.shutdown()
        broker.join()
    sys.exit(0 if codes == [0] * hosts else 1)


main()
