# CONFIG HOSTS AT_ONCE: runs `true` on the hosts h1, h2, ... of an ssh configuration through execnet, so many at a time.
import concurrent.futures
import sys

import execnet

REMOTE = """
import subprocess
channel.send(subprocess.call(["true"]))
"""


def run_true(group, config, number):
    gateway = group.makegateway(
        "ssh=h%d//ssh_config=%s//python=/usr/bin/python3//id=h%d" % (number, config, number)
    )
    return gateway.remote_exec(REMOTE).receive()


def main():
    config, hosts, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    group = execnet.Group()
    with concurrent.futures.ThreadPoolExecutor(min(at_once, hosts)) as pool:
        codes = list(pool.map(lambda number: run_true(group, config, number), range(1, hosts + 1)))
    group.terminate(timeout=5)
    sys.exit(0 if codes == [0] * hosts else 1)


main()
