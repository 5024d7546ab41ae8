"""A Slurm of one node in a folder: munged, slurmctld and slurmd of this machine's packages."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
SchedulerTimeSlice=5
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """The programs that are not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def install():
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class OneNode:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("OMPI_", "PMIX_", "PRTE_", "SLURM_"))}
        self.environment["PATH"] += ":/usr/sbin:/sbin"
        self.environment["SLURM_CONF"] = str(self.directory / "slurm.conf")
        self.daemons = []
        for name in ("state", "spool"):
            (self.directory / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        (self.directory / "slurm.conf").write_text(CONFIGURATION.format(
            host=host, ports=free_ports(2), directory=self.directory, cpus=os.cpu_count()))
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.directory.chmod(0o755)
        munge = [f"--{what}={self.directory}/munge.{what.split('-')[0]}"
                 for what in ("socket", "key-file", "log-file", "pid-file", "seed-file")]
        self.start("munged", "--foreground", "--force", *munge)
        self.wait(lambda: (self.directory / "munge.socket").exists(), "munged")
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D", "-N", host)
        self.wait(lambda: "State=IDLE" in self.run("scontrol", "show", "node", check=False), "the node")

    def start(self, *words):
        with (self.directory / f"{words[0]}.out").open("w") as out:
            self.daemons.append(subprocess.Popen(words, env=self.environment, stdout=out,
                                                 stderr=subprocess.STDOUT))

    def run(self, *words, check=True):
        result = subprocess.run(list(map(str, words)), env=self.environment, capture_output=True,
                                text=True, timeout=60)
        if check and result.returncode != 0:
            raise RuntimeError(f"{words}: {result.stdout}{result.stderr}")
        return result.stdout

    def wait(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "".join(f"--- {path.name}\n{path.read_text()[-2000:]}\n"
                               for path in self.directory.glob("*.*g")) if seconds == 60 else ""
                raise TimeoutError(f"not within {seconds} s: {what}\n{logs}")
            time.sleep(0.2)

    def job(self, number):
        """The fields that scontrol shows of a job."""
        text = self.run("scontrol", "show", "job", number)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def close(self):
        for job in self.run("squeue", "-h", "-o", "%i", check=False).split():
            self.run("scancel", "--signal=KILL", "--full", job, check=False)
            self.run("scancel", job, check=False)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
