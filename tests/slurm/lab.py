"""A throw-away SLURM cluster of virtual nodes on this machine: real daemons, everything on 127.0.0.1, no accounting.

Debian 12's packages munge, slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins; root; no systemd, no cgroups.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NODES = 2
PARTITION = "main"
CPUS, MEMORY_MB = 4, 16_000
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
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerParameters=sched_interval=2,sched_min_interval=200000,batch_sched_delay=0
KillWait=5
# Jobs stay visible to `scontrol` for so long after their end.
MinJobAge=3600
ReturnToService=2
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
MailProg=/bin/true
PartitionName={partition} Nodes=n[1-{nodes}] Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
"""
NODE = (
    "NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} Sockets=1 CoresPerSocket={cpus} "
    "ThreadsPerCore=1 RealMemory={memory}\n"
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


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Start it; yields the environment variables of its clients; stops it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="vlp-slurm-"))
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{SEARCH}"}
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path) -> None:
        log = (folder / f"{Path(command[0]).name}-{len(daemons)}.log").open("wb")
        child = subprocess.Popen(
            [str(c) for c in command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        daemons.append(child)

    def asks(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=30)

    def wait_for(what: str, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not true():
            if time.monotonic() > end or any(d.poll() is not None for d in daemons):
                logs = "\n".join(f"{p.name}:\n{p.read_text(errors='replace')[-1500:]}" for p in folder.glob("*.log"))
                raise LabError(f"the test cluster did not come up ({what})\n{logs}")
            time.sleep(0.1)

    def idle() -> bool:
        states = asks("sinfo", "--noheader", "--Node", "--format=%T").stdout.split()
        return states == ["idle"] * NODES

    try:
        _write(folder)
        _name_nodes(True)
        munge = {"key-file": "munge.key", "socket": "munge.socket", "log-file": "munged.log", "pid-file": "munged.pid"}
        options = [f"--{k}={folder / v}" for k, v in munge.items()]
        start(_program("munged"), "--foreground", "--force", f"--seed-file={folder / 'seed'}", *options)
        wait_for("munged", lambda: asks("munge", "-S", str(folder / "munge.socket"), "-n").returncode == 0)
        start(_program("slurmctld"), "-D")
        wait_for("slurmctld", lambda: asks("scontrol", "ping").returncode == 0)
        for i in range(1, NODES + 1):
            start(_program("slurmd"), "-D", "-N", f"n{i}")
        wait_for("the nodes", idle)
        yield environment
        asks("scancel", "--user=root", "--signal=KILL")
        with contextlib.suppress(LabError):
            wait_for("the end of all jobs", lambda: not asks("squeue", "--noheader").stdout.strip())
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(daemons):
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
    text = CONFIG.format(host=host, ports=ports, folder=folder, partition=PARTITION, nodes=NODES)
    nodes = [NODE.format(i=i, host=host, port=ports[i], cpus=CPUS, memory=MEMORY_MB) for i in range(1, NODES + 1)]
    head, separator, partition = text.partition("PartitionName")
    (folder / "slurm.conf").write_text(head + "".join(nodes) + separator + partition)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # else slurmd looks for it, and fails on mixed ones
    (folder / "bin").mkdir()
    sacct = folder / "bin" / "sacct"
    sacct.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {Path(__file__).with_name("sacct.py")} "$@"\n')
    sacct.chmod(0o755)


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
