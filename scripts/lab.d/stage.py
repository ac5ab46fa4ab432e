"""The inside of the lab: runs with all capabilities in its own namespaces, where scripts/lab has put it.

stage.py CASE WORK record|hold SECONDS

This process lives on the far side, the network namespace that owns the resolvers' and
servers' addresses. It starts one child that holds the client's namespaces (network, mounts,
host name), wires both with veth pairs, gives the client its own resolv.conf, nsswitch.conf,
hosts and an empty /run, and then either records one client run into WORK or holds the lab up.
Everything it starts dies with it.
"""
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time

import cases
from resolver import Resolver, static_zone
from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
RESOLVER_NETS, SERVER_NETS = ("10.0.1.", "fd00:1::"), ("192.168.110.", "fd00:110::")
# What IPv6 says about a new link comes in this time (measured; a bridge takes longer), and so not into a capture.
SETTLE_S = 0.5
# Without immediate mode tcpdump sees a packet up to 1 s late, and never those of its last second. Immediate mode has one slot of
# the snapshot length for each packet: 512 of them, since the 8 of the defaults lose packets on a busy machine.
AT_ONCE = ("--immediate-mode", "-s", "65535", "-B", "32768")
# What the servers say last comes in this time after the client's end.
DRAIN_S = 0.5
# As root, tcpdump would become another user who cannot write here.
KEEP_ROOT = ("-Z", "root") if os.geteuid() == 0 else ()
# A child of this process gets SIGKILL when it dies, however it dies.
DIE_WITH_ME = ("setpriv", "--pdeathsig", "KILL", "--")
# A daemon that changes its user loses that signal: give it a process namespace, whose first process keeps it.
IN_A_BOX = ("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", '"$@" & wait', "sh")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run/home", "USER": "root",
               "LANG": "C.UTF-8"}


class LabError(Exception):
    """What went wrong, for the person at the terminal."""


def run(*argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, **more)
    if done.returncode:
        raise LabError("%s: %s" % (" ".join(argv), (done.stderr or done.stdout).strip()))
    return done.stdout


def wait_for(what, test, seconds=10.0):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise LabError("waited %.0f s for %s" % (seconds, what))
        time.sleep(0.02)


def sysctl(path, value):
    """Best effort: a container may hold /proc/sys read-only, and no case depends on these alone."""
    try:
        with open("/proc/sys/net/" + path, "w") as file:
            file.write(value)
    except OSError:
        pass


class Stage:
    def __init__(self, name, work):
        self.case, self.name, self.work = cases.CASES[name], name, work
        self.rows, self.rows_lock = [], threading.Lock()
        self.children, self.client, self.traced = [], None, None

    # -- the two sides ------------------------------------------------------------------

    def in_client(self, *argv):
        return ("nsenter", "-t", str(self.client.pid), "-n", "-m", "-u", "--", *argv)

    def set_up(self):
        self.start_client_side()
        self.wire()
        self.furnish()
        for address, behaviour in self.case.resolvers.items():
            Resolver(address, behaviour, static_zone(cases.ZONE), self.log).start()
        for target, behaviour in self.case.servers.items():
            Server(*split(target), behaviour).start()
        for argv in self.case.daemons:
            self.spawn(*self.in_client(*IN_A_BOX, *argv))
        if self.case.ready:
            wait_for("the daemons", lambda: subprocess.run(
                self.in_client("sh", "-c", self.case.ready), stdin=subprocess.DEVNULL, timeout=10).returncode == 0)

    def spawn(self, *argv, **more):
        """A child in the client's namespaces (or here) that cannot outlive this process."""
        more.setdefault("stdin", subprocess.DEVNULL)
        log = open(os.path.join(self.work, "daemons.log"), "a")
        more.setdefault("stdout", log)
        more.setdefault("stderr", log)
        child = subprocess.Popen(DIE_WITH_ME + argv, env=ENVIRONMENT, cwd="/", **more)
        self.children.append(child)
        return child

    def start_client_side(self):
        self.client = subprocess.Popen(
            ("unshare", "--net", "--mount", "--uts", "--propagation", "private", *DIE_WITH_ME, "cat"),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/")
        self.children.append(self.client)

        def arrived():
            if self.client.poll() is not None:
                raise LabError("cannot make the client's namespaces")
            with open("/proc/%d/comm" % self.client.pid) as file:
                return file.read() == "cat\n"
        wait_for("the client's namespaces", arrived)

    def wire(self):
        """eth0 leads to the servers, eth1 to the resolvers."""
        pid = str(self.client.pid)
        run("ip", "link", "set", "lo", "up")
        wanted = {a for a, b in self.case.resolvers.items() if b != "absent"}
        wanted |= {split(t)[0] for t in self.case.servers}
        six = any(":" in address for address in wanted)
        # The far side answers and has nothing to say of its own.
        for conf in ("ipv6/conf/all/", "ipv6/conf/default/"):
            sysctl(conf + "accept_dad", "0")
            sysctl(conf + "router_solicitations", "0")
            sysctl(conf + "mldv2_unsolicited_report_interval", "10")
        if not six:
            sysctl("ipv6/conf/default/disable_ipv6", "1")
        for far, near, nets in (("srv", "eth0", SERVER_NETS), ("dns", "eth1", RESOLVER_NETS)):
            run("ip", "link", "add", far, "type", "veth", "peer", "name", near, "netns", pid)
            run("ip", "link", "set", far, "up")
            here = {address for address in wanted if address.startswith(nets)} | {nets[0] + "1"}
            for address in sorted(here):
                run("ip", "address", "add", address + ("/64" if ":" in address else "/24"), "dev", far, *NO_DAD[":" in address])
        sysctl("ipv4/icmp_ratelimit", "0")  # every refused query gets its ICMP error
        for target, behaviour in self.case.servers.items():
            if behaviour == "drop":
                # The address answers ARP; what the port would send back has no way out, so a SYN stays unanswered.
                address, port = split(target)
                run("ip", "-6" if ":" in address else "-4", "rule", "add", "from", address, "ipproto", "tcp", "sport", str(port), "blackhole")
        run(*self.in_client("sh", "-ec", CLIENT_NETWORK % {
            "bridge": BRIDGE if self.case.bridge else "dev=eth1", "six": CLIENT_SIX if six else ""}))
        time.sleep(SETTLE_S * (4 if self.case.bridge else 1))

    def furnish(self):
        """The client's own /run and name-service files, by mounts that nobody else sees."""
        conf = os.path.join(self.work, "conf")
        os.makedirs(conf, exist_ok=True)
        servers = self.case.nameservers or tuple(self.case.resolvers)
        texts = {
            "resolv.conf": [*("nameserver " + s for s in servers), *self.case.resolv_extra],
            "nsswitch.conf": ["passwd: files", "group: files", "hosts: " + self.case.hosts_line,
                              "networks: files", "services: files", "protocols: files"],
            "hosts": ["127.0.0.1 localhost client", *self.case.hosts_extra],
            # Only for the nscd case: one cache, nothing kept on disk.
            "nscd.conf": ["enable-cache hosts yes", "enable-cache passwd no", "enable-cache group no",
                          "enable-cache netgroup no", "enable-cache services no", "persistent hosts no", "paranoia no"],
        }
        for name, lines in texts.items():
            with open(os.path.join(conf, name), "w") as file:
                file.write("\n".join(lines) + "\n")
        run(*self.in_client(sys.executable, "-B", os.path.join(HERE, "furnish.py"), conf, os.path.join(HERE, "clients"), os.path.join(self.work, "bin")))

    def log(self, row):
        with self.rows_lock:
            self.rows.append(row)

    def asked(self):
        """What the scripted resolvers read and answered, by address and transport."""
        with self.rows_lock:
            table = {}
            for row in self.rows:
                entry = table.setdefault("%s/%s" % (row["resolver"], row["transport"]), {"queries": 0, "answered": 0, "questions": {}})
                entry["queries"] += 1
                entry["answered"] += row["answered"]
                entry["questions"][row["question"]] = entry["questions"].get(row["question"], 0) + 1
            return table

    # -- recording ------------------------------------------------------------------------

    def record(self):
        pcap = os.path.join(self.work, "packets.pcap")
        trace = os.path.join(self.work, "syscalls.strace")
        capture_log = os.path.join(self.work, "tcpdump.log")
        with open(capture_log, "w") as log:
            capture = self.spawn(*self.in_client("tcpdump", "-i", "any", "-n", "-U", *AT_ONCE, *KEEP_ROOT, "-w", pcap), stderr=log)

        def capturing():
            if capture.poll() is not None:
                raise LabError("tcpdump: " + read(capture_log))
            # Printed after the capture is active; -U has then written the file's header.
            return "listening on" in read(capture_log) and os.path.getsize(pcap) >= 24
        wait_for("tcpdump", capturing)

        with open(os.path.join(self.work, "output.txt"), "w") as output:
            began = time.monotonic()
            client = self.spawn(*self.in_client(
                "sh", "-c", 'cd /run/home && exec "$@"', "sh",
                "strace", "-f", "-ttt", "-T", "-yy", "-e", "trace=network,poll,close", "-o", trace, *self.case.command),
                stdout=output, stderr=output, start_new_session=True)
            self.traced = client
            try:
                status = client.wait(self.case.limit)
            except subprocess.TimeoutExpired:
                raise LabError("the client took more than %.0f s" % self.case.limit)
            seconds = time.monotonic() - began
        time.sleep(DRAIN_S + self.case.linger)
        capture.send_signal(signal.SIGINT)
        capture.wait(10)
        captured, received, dropped = (int(n) for n in re.findall(r"^(\d+) packets", read(capture_log), re.M))
        # The kernel hands over a loopback packet twice, out and in; libpcap drops the first.
        if dropped or received != captured + on_loopback(pcap):
            raise LabError("the capture is not whole: " + read(capture_log))
        version = subprocess.run(self.case.version, capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
        with open(os.path.join(self.work, "result.json"), "w") as file:
            json.dump({"status": status, "seconds": round(seconds, 3), "asked": self.asked(),
                       "output": read(os.path.join(self.work, "output.txt")).splitlines()[-3:],
                       "version": first_line(version.stdout or version.stderr)}, file)

    def tear_down(self):
        if self.traced and self.traced.poll() is None:
            os.killpg(self.traced.pid, signal.SIGKILL)  # its own session: strace, and the client that would outlive it
        for child in reversed(self.children):
            if child.poll() is None:
                child.kill()
        for child in self.children:
            child.wait(5)


# `ip address add` for IPv4 and IPv6: no duplicate address detection, the address serves at once.
NO_DAD = ((), ("nodad",))
CLIENT_SIX = """ip address add fd00:110::50/64 dev eth0 nodad
ip address add fd00:1::10/64 dev "$dev" nodad
"""
BRIDGE = """ip link add br0 type bridge
ip link set eth1 master br0
ip link set eth1 up
dev=br0
"""

# IPv6 stays on, so that clients with AI_ADDRCONFIG ask for AAAA as they do on most hosts; its own
# chatter (duplicate address detection, router solicitations, repeated MLD reports) is kept short.
CLIENT_NETWORK = """
for conf in /proc/sys/net/ipv6/conf/*; do
    echo 0 >$conf/accept_dad || :
    echo 0 >$conf/router_solicitations || :
    echo 10 >$conf/mldv2_unsolicited_report_interval || :
done 2>/dev/null
echo 1 2>/dev/null >/proc/sys/net/ipv6/mld_qrv || :
hostname client
%(bridge)s
ip link set lo up
ip link set eth0 up
ip link set "$dev" up
ip address add 192.168.110.50/24 dev eth0
ip address add 10.0.1.10/24 dev "$dev"
%(six)s
ip route add default via 192.168.110.1
"""


def first_line(text):
    """The first line of what a program says of its version, without the libraries that curl adds."""
    return (text.strip() or "version unknown").splitlines()[0].split(" libcurl/")[0].strip()


def split(target):
    """("address", port) of "address:port" or "[address]:port"."""
    address, port = target.rsplit(":", 1)
    return address.strip("[]"), int(port)


def on_loopback(pcap):
    """How many packets of a SLL2 capture were seen on interface 1, lo (bytes 4-7 of the header)."""
    with open(pcap, "rb") as file:
        data = file.read()
    at, count = 24, 0
    while at + 16 <= len(data):
        (length,) = struct.unpack_from("=8xI", data, at)
        count += data[at + 20:at + 24] == b"\0\0\0\1"
        at += 16 + length
    return count


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


def main():
    name, work, mode, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit("lab: stopped"))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("lab: time is up"))
    signal.alarm(max(1, int(seconds)))
    stage = Stage(name, work)
    try:
        stage.set_up()
        if mode == "record":
            stage.record()
        else:
            with open(os.path.join(work, "ready.new"), "w") as file:
                json.dump({"client": stage.client.pid}, file)
            os.rename(file.name, os.path.join(work, "ready"))
            while True:
                time.sleep(0.5)
                with open(os.path.join(work, "asked.new"), "w") as file:
                    json.dump(stage.asked(), file, indent=1)
                os.rename(file.name, os.path.join(work, "asked.json"))
    except (LabError, OSError, subprocess.SubprocessError) as error:
        sys.exit("lab: %s: %s" % (name, error))
    finally:
        stage.tear_down()


if __name__ == "__main__":
    main()
