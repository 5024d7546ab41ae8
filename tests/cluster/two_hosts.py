""""Hosts" on one machine: each a network, mount and UTS namespace with its own name, /tmp and
/dev/shm; two of them are joined by a virtual cable. Needs root. A namespace lives as long as a
process in it, so that nothing is left once those have been ended: the one that keeps it ends with
the program that has made it, however that ends."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "program"))
from harness import wait_for  # noqa: E402

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]

UNSHARE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "--propagation", "private"]

# What a host does before it waits; $1 is its name, the rest are paths that both hosts see.
SET_UP = r"""
set -euo pipefail
hostname "$1"
shift
ip link set lo up
mount --rbind /tmp /mnt
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
for path in "$@"; do
  case "$path" in /tmp/*)
    mkdir -p "$path"
    mount --bind "/mnt/${path#/tmp/}" "$path"
  esac
done
umount --recursive --lazy /mnt
echo ready
exec sleep infinity
"""


def missing():
    """Why this machine cannot have two hosts, or None."""
    if os.geteuid() != 0:
        return "namespaces need root"
    # All that the tests do to their hosts, in a host that ends with this.
    probe = ("hostname probe && mount -t tmpfs tmpfs /mnt && sysctl -w net.ipv4.tcp_retries2=5"
             " && ip link add a0 type veth peer name a1"
             " && tc qdisc add dev a0 root tbf rate 1mbit burst 32kb latency 400ms"
             " && nsenter --target=$$ --net --mount --uts true")
    try:
        result = subprocess.run([*UNSHARE, "sh", "-c", probe], capture_output=True, text=True, timeout=30)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return "no namespaces: no answer within 30 s"
    return None if result.returncode == 0 else "no namespaces: " + result.stderr.strip()


class Host:
    """One namespace of each kind, kept by a sleeping process."""

    def __init__(self, name, address, shared):
        self.name, self.address = name, address
        self.keeper = subprocess.Popen(
            [*UNSHARE, "bash", "-c", SET_UP, "set-up", name, *map(str, shared)],
            stdout=subprocess.PIPE, text=True)
        if self.keeper.stdout.readline() != "ready\n":
            raise AssertionError(f"{name}: cannot be set up")
        self.namespace = os.readlink(f"/proc/{self.keeper.pid}/ns/net")
        self.root = Path(f"/proc/{self.keeper.pid}/root")

    def command(self, *words):
        return ["env", "LC_ALL=C", "nsenter", f"--target={self.keeper.pid}", "--net", "--mount", "--uts",
                *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.command(*words), check=True, capture_output=True, text=True)

    def processes(self):
        """{pid: command line} of what runs on this host, the keeper left out."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns" / "net") != self.namespace:
                    continue
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and int(entry.name) != self.keeper.pid:  # the dead have no command line
                    found[int(entry.name)] = line
        return found

    def close(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()


def mpirun(hosts, ranks_per_host, btl, *words):
    """A command that starts the words on all hosts of the network 192.0.2.0/24, from the first."""
    slots = ",".join(f"{host.address}:{ranks_per_host}" for host in hosts)
    others = " ".join(f"{host.address}={host.keeper.pid}" for host in hosts)
    network = "192.0.2.0/24"
    return hosts[0].command(
        "env", f"LOCKSTEP_TEST_HOSTS={others}", SOURCE / "tests" / "mpirun",
        "--host", slots, "--mca", "plm_rsh_agent", HERE / "launch_agent",
        "--mca", "btl", btl, "--mca", "btl_tcp_if_include", network,
        "--mca", "oob_tcp_if_include", network, *words)


class TwoHosts:
    """Hosts "node-a" and "node-b", 192.0.2.1 and 192.0.2.2 (addresses for documentation, which
    exist inside the namespaces only). Use with contextlib.closing."""

    LINK = "cable"

    def __init__(self, shared):
        self.hosts = []
        try:
            for name, address in (("node-a", "192.0.2.1"), ("node-b", "192.0.2.2")):
                self.hosts.append(Host(name, address, shared))
            self.a, self.b = self.hosts
            self.a.run("ip", "link", "add", self.LINK, "type", "veth", "peer", "name", self.LINK,
                       "netns", str(self.b.keeper.pid))
            for host in self.hosts:
                host.run("ip", "address", "add", f"{host.address}/24", "dev", self.LINK)
                host.run("ip", "link", "set", self.LINK, "up")
            self.await_link()
        except BaseException:
            self.close()
            raise

    def close(self):
        for host in self.hosts:
            host.close()

    def link(self, state):
        """"down" or "up"; up: until each host reaches the other."""
        self.a.run("ip", "link", "set", self.LINK, state)
        if state == "up":
            self.await_link()

    def await_link(self):
        # Nobody listens there: a refusal is an answer.
        probe = "exec 3<>/dev/tcp/{}/9"
        for host, other in ((self.a, self.b), (self.b, self.a)):
            def answers(host=host, other=other):
                words = host.command("timeout", "2", "bash", "-c", probe.format(other.address))
                result = subprocess.run(words, capture_output=True, text=True)
                return "refused" in result.stderr
            wait_for(answers, f"{host.name} reaches {other.name}", 60)

    def throttle(self, rate):
        """Both directions, e.g. "1mbit"; None: as fast as memory."""
        for host in self.hosts:
            if rate is None:
                host.run("tc", "qdisc", "delete", "dev", self.LINK, "root")
            else:
                host.run("tc", "qdisc", "add", "dev", self.LINK, "root", "tbf", "rate", rate,
                         "burst", "32kb", "latency", "400ms")

    def mpirun(self, ranks_per_host, *words):
        """A command that starts the words on both hosts, from the first; between them over TCP only."""
        return mpirun(self.hosts, ranks_per_host, "tcp,vader,self", *words)
