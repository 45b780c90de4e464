"""A throw-away SLURM cluster of virtual nodes on this machine: real daemons, everything on 127.0.0.1, no accounting.

Debian 12's packages munge, slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins; root; no systemd, no cgroups.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = 2
PARTITION, LOW = "main", "low"
"""Jobs in `main` preempt those in `low`."""
GRACE = 20
"""Seconds between the announcement of a preemption and the end."""
CPUS, MEMORY_MB, GPUS = 16, 64_000, 8
"""What each node claims to have."""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
HOSTS = Path("/etc/hosts")
BEGIN, END = "# vlp test cluster begin", "# vlp test cluster end"

CONFIG = """\
ClusterName=vlp
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it may start again (default: 120 s).
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
# No cgroups: containers have none, or mixed ones, which SLURM refuses.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# Claim what the machine does not have.
SlurmdParameters=config_overrides
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerParameters=sched_interval=2,sched_min_interval=200000,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# A preempted job gets its own --signal first.
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
SlurmdTimeout=12
# Jobs stay visible to `scontrol` for so long after their end.
MinJobAge=3600
ReturnToService=2
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
MailProg=/bin/true
PartitionName={partition} Nodes=n[1-{nodes}] Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10 \
PreemptMode=OFF
PartitionName={low} Nodes=n[1-{nodes}] MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE \
GraceTime={grace}
"""
NODE = (
    "NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} Sockets=1 CoresPerSocket={cpus} "
    "ThreadsPerCore=1 RealMemory={memory} Gres=gpu:{gpus}\n"
)


class LabError(RuntimeError):
    """The cluster did not come up; the message holds the end of the daemons' logs."""


def missing() -> str | None:
    """Why the cluster can not be set up here, or None."""
    if absent := [p for p in PROGRAMS if shutil.which(p, path=SEARCH) is None]:
        return f"SLURM is not installed here ({', '.join(absent)} not found); .ci/run installs it"
    if os.geteuid() != 0:
        return "the test cluster's daemons have to be started by root"
    return None


class Cluster:
    """The running cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.daemons[name] = subprocess.Popen(
            [str(c) for c in command],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def asks(self, *command: str) -> str:
        """What a client says, stripped; empty if it fails."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    def wait_for(self, what: str, true: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end or any(d.poll() is not None for d in self.daemons.values()):
                logs = [f"{p.name}:\n{p.read_text(errors='replace')[-1500:]}" for p in self.folder.glob("*.log")]
                raise LabError("\n".join([f"the test cluster: {what} did not come", *logs]))
            time.sleep(0.2)

    def job(self, name: str) -> str:
        """Id of the job of this name that is in the queue, `ARRAY_INDEX` of an array's; empty: there is none."""
        return self.asks("squeue", "--noheader", f"--name={name}", "--format=%i").partition("\n")[0]

    def state(self, job: str) -> str:
        return self.asks("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def restarts(self, job: str) -> int:
        found = re.search(r"Restarts=(\d+)", self.asks("scontrol", "show", "job", job))
        return int(found[1]) if found else 0

    def start_node(self, i: int) -> None:
        self.start(f"n{i}", _program("slurmd"), "-D", "-N", f"n{i}")

    def kill_node(self, i: int) -> None:
        """As if its power were cut: the daemon, the managers of its steps, and their tasks, with SIGKILL."""
        self.daemons.pop(f"n{i}").kill()
        tasks = {p for p in _processes() if _environ(p).get("SLURMD_NODENAME") == f"n{i}" and self._ours(p)}
        managers = {parent for p in tasks if (parent := _parent(p)) not in tasks and "slurmstepd" in _name(parent)}
        for process in managers | tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _ours(self, process: int) -> bool:
        return _environ(process).get("SLURM_CONF") == self.environment["SLURM_CONF"]

    def clean(self) -> None:
        """Cancel every job and wait until the nodes are free, for the next test."""
        self.asks("scancel", "--user=root")
        self.wait_for("an empty queue", lambda: not self.asks("squeue", "--noheader"), 60)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Start it; stops it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="vlp-slurm-"))
    lab = Cluster(folder)
    try:
        _write(folder)
        _name_nodes(True)
        munge = {"key-file": "munge.key", "socket": "munge.socket", "log-file": "munged.log", "pid-file": "munged.pid"}
        options = [f"--{k}={folder / v}" for k, v in munge.items()]
        lab.start("munged", _program("munged"), "--foreground", "--force", f"--seed-file={folder / 'seed'}", *options)
        lab.wait_for("munged", lambda: lab.asks("munge", "-S", str(folder / "munge.socket"), "-n"))
        lab.start("slurmctld", _program("slurmctld"), "-D")
        lab.wait_for("slurmctld", lambda: "UP" in lab.asks("scontrol", "ping"))
        for i in range(1, NODES + 1):
            lab.start_node(i)
        idle = ["sinfo", "--noheader", "--Node", f"--partition={PARTITION}", "--format=%T"]
        lab.wait_for("idle nodes", lambda: lab.asks(*idle).split() == ["idle"] * NODES)
        yield lab
        with contextlib.suppress(LabError):
            lab.clean()
    finally:
        for daemon in reversed(lab.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(lab.daemons.values()):
            try:
                daemon.wait(8)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        _name_nodes(False)
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path) -> None:
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    folder.chmod(0o711)
    (folder / "state").mkdir()
    host, ports = socket.gethostname().partition(".")[0], _free_ports(NODES + 1)
    text = CONFIG.format(host=host, ports=ports, folder=folder, partition=PARTITION, low=LOW, grace=GRACE, nodes=NODES)
    claims = {"host": host, "cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
    nodes = [NODE.format(i=i, port=ports[i], **claims) for i in range(1, NODES + 1)]
    head, separator, partitions = text.partition("PartitionName")
    (folder / "slurm.conf").write_text(head + "".join(nodes) + separator + partitions)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # else slurmd looks for it, and fails on mixed ones
    # Devices without a driver, never opened: with ordinary files SLURM would bind no GPU to a job.
    (folder / "dev").mkdir()
    for i in range(GPUS):
        os.mknod(folder / "dev" / f"gpu{i}", 0o600 | stat.S_IFCHR, os.makedev(195, i))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/dev/gpu[0-{GPUS - 1}]\n")


def _name_nodes(there: bool) -> None:
    """Ranks meet at the first node's name, so the names must resolve: a marked block in the hosts file."""
    # Written in place: in a container the file is a mount and can not be replaced.
    text = re.sub(rf"\n{BEGIN}\n.*?{END}\n", "", HOSTS.read_text(), flags=re.DOTALL)
    lines = "".join(f"127.0.0.1 n{i}\n" for i in range(1, NODES + 1))
    HOSTS.write_text(text + f"\n{BEGIN}\n{lines}{END}\n" if there else text)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def _program(name: str) -> str:
    found = shutil.which(name, path=SEARCH)
    assert found is not None, name
    return found


def _die_with_parent() -> None:
    """So that a test run that is killed leaves no daemon behind (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _processes() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]


def _environ(process: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{process}/environ").read_text(errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
