"""The cases that scripts/lab knows, as data. Behaviours are explained in resolver.py and server.py."""
from dataclasses import dataclass, field

THREE = ("10.0.1.93", "10.0.1.95", "10.0.1.92")
TARGET = "192.168.110.231"
ZONE = {
    "A web.example.lab": [TARGET],
    "A api.example.lab": [TARGET],
    "A log.example.lab": [TARGET],
    "A db.prod.example.lab": [TARGET],
    "A two.example.lab": ["192.168.110.232", TARGET],
    "A hole.example.lab": ["192.168.110.232"],
    "A absent.example.lab": ["192.168.110.250"],
    "A six.example.lab": ["192.168.110.231"],
    "AAAA six.example.lab": ["fd00:110::232", "fd00:110::231"],
    "PTR 231.110.168.192.in-addr.arpa": ["web.example.lab"],
}
PYTHON = ("/usr/bin/python3", "-I", "-S")
CURL = ("curl", "-sS", "-o", "/dev/null")
WEB = {TARGET + ":80": "http"}


@dataclass
class Case:
    """One network, one client, one story."""
    about: str                                       # one line: what happens and why
    command: tuple                                   # what strace runs inside the client's namespace
    resolvers: dict                                  # address -> behaviour; anything not `absent` gets its address
    servers: dict = field(default_factory=lambda: dict(WEB))  # "address:port" -> behaviour
    version: tuple = ("curl", "--version")           # prints the client's version on its first line
    nameservers: tuple = ()                          # for resolv.conf; empty: the resolvers, in order
    resolv_extra: tuple = ()                         # further lines of resolv.conf, e.g. options
    hosts_line: str = "files dns"                    # `hosts:` of nsswitch.conf
    hosts_extra: tuple = ()                          # further lines of hosts
    build: str = ""                                  # a client to build first: a key of BUILDS in scripts/lab
    daemons: tuple = ()                              # untraced programs in the client's namespace
    ready: str = ""                                  # a shell test, true once the daemons are up
    bridge: bool = False                             # put the resolvers' link behind a bridge in the client's namespace
    limit: float = 60.0                              # seconds that the client may take
    linger: float = 0.0                              # seconds that the network stands on after the client, for late answers
    needs: tuple = ()                                # programs, beside those every case needs


def resolvers(*behaviours):
    return dict(zip(THREE, behaviours))


def dnsmasq(*upstreams, extra=()):
    return ("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
            "--no-resolv", "--no-hosts", "--cache-size=0", "--listen-address=127.0.0.53", "--bind-interfaces",
            "--log-facility=/run/dnsmasq.log", *extra, *("--server=" + u for u in upstreams))


STUB_UP = "ss -Hlun 'sport = :53' | grep -q 127.0.0.53"

CASES = {
    "zookeeper-three-silent": Case(
        "ZooKeeper's client is given an address; its thread looks up that address's name, twice, with three resolvers that never answer",
        ("/usr/share/zookeeper/bin/zkCli.sh", "-server", TARGET + ":8998", "ls", "/"),
        resolvers("silent", "silent", "silent"), servers={TARGET + ":8998": "zookeeper"},
        version=("sh", "-c", "echo $(dpkg-query -W -f 'ZooKeeper ${Version}' zookeeper), $(java -version 2>&1 | head -1)"),
        limit=120, needs=("java", "/usr/share/zookeeper/bin/zkCli.sh")),
    "first-resolver-silent": Case(
        "The first of two resolvers never answers",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "good"), needs=("curl",)),
    "resolver-refusing": Case(
        "Nobody listens on the first resolver's port: ICMP port unreachable, and the second answers",
        (*PYTHON, "/run/lab/connect.py", "web.example.lab", "80"), resolvers("refusing", "good"),
        version=("/usr/bin/python3", "--version")),
    "resolver-absent": Case(
        "The first resolver is not on the link: no ARP reply, no packet leaves for it",
        (*CURL, "http://web.example.lab/"), resolvers("absent", "good"), needs=("curl",)),
    "aaaa-silent": Case(
        "The only resolver answers A and never AAAA",
        (*CURL, "http://web.example.lab/"), resolvers("aaaa-silent"), needs=("curl",)),
    "truncated-to-tcp": Case(
        "Every UDP answer is truncated, so the client asks again over TCP",
        (*PYTHON, "/run/lab/connect.py", "web.example.lab", "80"), resolvers("truncate"),
        version=("/usr/bin/python3", "--version")),
    "search-domains": Case(
        "A short name with ndots:2 is tried in two wrong search domains before the right one, by a slow resolver",
        ("getent", "ahosts", "db.prod"), resolvers("slow 0.4"), version=("getent", "--version"),
        resolv_extra=("search eu.example.lab us.example.lab example.lab", "options ndots:2")),
    "search-domains-connect": Case(
        "As search-domains, and the client then connects",
        (*CURL, "http://db.prod/"), resolvers("slow 0.4"),
        resolv_extra=("search eu.example.lab us.example.lab example.lab", "options ndots:2"), needs=("curl",)),
    "syn-blackholed": Case(
        "The name resolves at once; the server's SYNs are dropped until the client gives up",
        (*CURL, "--connect-timeout", "12", "http://hole.example.lab/"), resolvers("good"),
        servers={"192.168.110.232:80": "drop"}, needs=("curl",)),
    "reverse-lookup": Case(
        "The client asks for the name of the address that it then connects to; the first resolver never answers",
        (*PYTHON, "/run/lab/reverse_connect.py", TARGET, "80"), resolvers("silent", "good"),
        version=("/usr/bin/python3", "--version")),
    "stub-upstream-dead": Case(
        "The client asks dnsmasq on 127.0.0.53, which answers nothing because its own resolvers are silent",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "silent"), nameservers=("127.0.0.53",),
        daemons=(dnsmasq(*THREE[:2]),), ready=STUB_UP, needs=("curl", "dnsmasq")),
    "stub-upstream-silent-first": Case(
        "dnsmasq on 127.0.0.53 asks its resolvers in order and the first is silent; the client's second try is answered",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "good"), nameservers=("127.0.0.53",),
        daemons=(dnsmasq(*THREE[:2], extra=("--strict-order",)),), ready=STUB_UP, needs=("curl", "dnsmasq")),
    "nothing-wrong": Case(
        "Everything answers at once",
        (*CURL, "http://web.example.lab/"), resolvers("good", "good"), needs=("curl",)),
    "lossy-resolver": Case(
        "Four names in a row; the only resolver loses every fifth query",
        (*PYTHON, "/run/lab/connect_many.py", "80", "web.example.lab", "api.example.lab", "log.example.lab", "db.prod.example.lab"),
        resolvers("lossy 5"), version=("/usr/bin/python3", "--version")),
    "slow-resolver": Case(
        "The only resolver takes 2.5 s for each answer",
        (*CURL, "http://web.example.lab/"), resolvers("slow 2.5"), needs=("curl",)),
    "servfail": Case(
        "The first resolver answers SERVFAIL, the second answers well",
        (*CURL, "http://web.example.lab/"), resolvers("servfail", "good"), needs=("curl",)),
    "name-not-found": Case(
        "The name does not exist: the first resolver says so and no connect follows",
        (*CURL, "http://nowhere.example.lab/"), resolvers("good", "good"), needs=("curl",)),
    "two-addresses-fallback": Case(
        "The name has two addresses; SYNs to the first are dropped, the client gives each address 4 s",
        (*PYTHON, "/run/lab/connect.py", "two.example.lab", "80", "4"), resolvers("good"),
        servers={"192.168.110.232:80": "drop", **WEB}, version=("/usr/bin/python3", "--version")),
    "connect-refused": Case(
        "The name resolves at once and the server refuses the connection",
        (*CURL, "http://web.example.lab:81/"), resolvers("good"), needs=("curl",)),
    "musl-client": Case(
        "musl asks all three resolvers at once; two are silent and the third loses the first copy of each question",
        ("/run/bin/connect", "web.example.lab", "80"), resolvers("silent", "silent", "first-lost 1"),
        version=("sh", "-c", "dpkg-query -W -f 'musl ${Version}' musl"), build="musl", needs=("musl-gcc",)),
    "go-client": Case(
        "Go's own resolver (no cgo); the first resolver never answers",
        ("/run/bin/connect", "web.example.lab:80"), resolvers("silent", "good"),
        version=("go", "version"), build="go", needs=("go",)),
    "node-c-ares": Case(
        "node's dns.resolve4 (c-ares); the first resolver never answers",
        ("node", "/run/lab/cares_connect.js", "web.example.lab", "80"), resolvers("silent", "good"),
        version=("sh", "-c", "echo node $(node --version), c-ares $(node -p process.versions.ares)"), needs=("node",)),
    "late-answer": Case(
        "The first resolver answers after 8 s, when the client waits for the silent second; the next round reads it",
        (*CURL, "http://web.example.lab/"), resolvers("slow 8", "silent"), linger=2.0, needs=("curl",)),
    "late-and-denied": Case(
        "The first resolver answers after 6 s; meanwhile the second has said that there is no such name, and the client believes it",
        (*CURL, "http://web.example.lab/"), resolvers("slow 6", "nxdomain"), linger=2.0, needs=("curl",)),
    "stopped-while-connecting": Case(
        "The name resolves at once and the server's SYNs are dropped; the client is stopped after 4 s, long before it would give up",
        ("timeout", "4", *CURL, "http://hole.example.lab/"), resolvers("good"),
        servers={"192.168.110.232:80": "drop"}, needs=("curl",)),
    "nscd-in-front": Case(
        "The client asks nscd over its unix socket and gives up on it after 5 s, since nscd's first two resolvers are silent; then it asks them itself",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "silent", "good"),
        daemons=(("nscd", "-F", "-f", "/run/conf/nscd.conf"),), ready="test -S /run/nscd/socket", needs=("curl", "nscd")),
    "nscd-slow": Case(
        "The client asks nscd over its unix socket; nscd answers when its slow resolver has",
        (*CURL, "http://web.example.lab/"), resolvers("slow 3"),
        daemons=(("nscd", "-F", "-f", "/run/conf/nscd.conf"),), ready="test -S /run/nscd/socket", needs=("curl", "nscd")),
    "ipv6": Case(
        "Both resolvers have IPv6 addresses and the first is silent; of the server's two IPv6 addresses one drops SYNs, the client gives each address 2 s",
        (*PYTHON, "/run/lab/connect.py", "six.example.lab", "80", "2"), {"fd00:1::93": "silent", "fd00:1::95": "good"},
        servers={"[fd00:110::232]:80": "drop", "[fd00:110::231]:80": "http", **WEB}, version=("/usr/bin/python3", "--version")),
    "tcp-dns-dead": Case(
        "Every UDP answer is truncated and SYNs to the resolver's TCP port are dropped; the client is stopped after 12 s",
        ("timeout", "12", *PYTHON, "/run/lab/connect.py", "web.example.lab", "80"), resolvers("truncate"),
        servers={"10.0.1.93:53": "drop", **WEB}, version=("/usr/bin/python3", "--version")),
    "overlapping-threads": Case(
        "Three threads look up three names at overlapping times; the first resolver never answers",
        (*PYTHON, "/run/lab/connect_threads.py", "80", "web.example.lab", "api.example.lab", "log.example.lab"),
        resolvers("silent", "good"), version=("/usr/bin/python3", "--version")),
    "threads-and-a-slow-resolver": Case(
        "Three threads look up three names at overlapping times and the only resolver takes 0.9 s: one thread connects while the next still waits",
        (*PYTHON, "/run/lab/connect_threads.py", "80", "web.example.lab", "api.example.lab", "log.example.lab"),
        resolvers("slow 0.9"), version=("/usr/bin/python3", "--version")),
    "bridge-duplicates": Case(
        "The client's link is behind a bridge, so the capture on `any` holds each packet twice; the first resolver never answers",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "good"), bridge=True, needs=("curl",)),
    "server-absent": Case(
        "The name resolves at once and the server's address is not on the link: no ARP reply, no SYN leaves, the connect fails after 3 s",
        (*CURL, "http://absent.example.lab/"), resolvers("good"), needs=("curl",)),
    "hosts-file": Case(
        "The name stands in hosts: no DNS at all",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "good"),
        hosts_extra=(TARGET + " web.example.lab",), needs=("curl",)),
    "port-and-id-reused": Case(
        "Three dig processes use one port and one id in turn; the first resolver never answers, the second and third ask the good one",
        ("sh", "-c", "for at in 10.0.1.93 10.0.1.95 10.0.1.95; do dig +tries=1 +timeout=2 +qid=4242 -b 10.0.1.10#40404 @$at web.example.lab A; done; exit 0"),
        resolvers("silent", "good"), version=("dig", "-v"), needs=("dig",)),
    "nat-stub": Case(
        "As in a container: 127.0.0.11:53 is turned by NAT into another port, where a stub asks a silent resolver, then a good one",
        (*CURL, "http://web.example.lab/"), resolvers("silent", "good"), nameservers=("127.0.0.11",),
        daemons=(("sh", "-c", "iptables -t nat -A OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:45053 && exec "
                  + " ".join(dnsmasq(*THREE[:2], extra=("--strict-order", "--port=45053"))).replace("127.0.0.53", "127.0.0.11")),),
        ready="ss -Hlun 'sport = :45053' | grep -q 127.0.0.11", needs=("curl", "dnsmasq", "iptables")),
}
