#!/usr/bin/env python3
"""Makes captures and strace logs of any size for scripts/bench-offline: always the same bytes for the same size.

usage: generate.py capture|strace FILE MEGABYTES

capture  Mixed traffic of one busy host: connections of 200 data segments each (190 kB) (IPv4 and IPv6, one in eight
         tagged with a VLAN), before each one a lookup; one resolver in three is dead and asked first, so the query is
         repeated to the next one. A reset, a refused and a silent server now and then; ARP, ICMP and NTP between.
strace   strace -f -ttt -T of a program with 40 threads that mostly reads, writes, waits for locks and looks at
         files; one line in 500 belongs to a lookup and its connect, one in 20 is unfinished and resumed later.
"""

import random
import struct
import sys

START = 1_700_000_000
SEED = 20260101
SEGMENTS = 200


def ipv4(src, dst, protocol, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, src, dst)
    return head + payload


def ipv6(src, dst, protocol, payload):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, 64, src, dst) + payload


def ethernet(packet, vlan):
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    macs = bytes.fromhex("020000000002020000000001")
    tag = struct.pack("!HH", 0x8100, vlan) if vlan else b""
    return macs + tag + struct.pack("!H", kind) + packet


def tcp(sport, dport, seq, ack, flags, data=b""):
    return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0) + data


def udp(sport, dport, data):
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def dns(ident, name, kind, answer=None):
    question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + struct.pack("!HH", kind, 1)
    head = struct.pack("!HHHHHH", ident, 0x8180 if answer else 0x0100, 1, 1 if answer else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(answer)) + answer if answer else b""
    return head + question + record


class Capture:
    """A pcap file being written."""

    def __init__(self, file, size):
        self.file, self.left, self.micros = file, size, 0
        self.pending = []
        self.held = 0
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def add(self, frame, after):
        self.micros += after
        seconds, micros = divmod(self.micros, 1_000_000)
        self.pending.append(struct.pack("<IIII", START + seconds, micros, len(frame), len(frame)))
        self.pending.append(frame)
        self.held += 16 + len(frame)
        if self.held > 1 << 20:
            self.flush()

    def flush(self):
        self.file.write(b"".join(self.pending))
        self.left -= self.held
        self.pending, self.held = [], 0


def capture(file, size):
    rng = random.Random(SEED)
    out = Capture(file, size)
    filler = rng.randbytes(1448)
    host4, host6 = bytes([10, 0, 0, 5]), bytes.fromhex("fd000000000000000000000000000005")
    resolvers = [bytes([10, 0, 0, 53 + i]) for i in range(3)]
    number = 0
    while out.left > 0:
        number += 1
        six, vlan = number % 3 == 0, 7 if number % 8 == 0 else 0
        sport = 20_000 + number % 40_000
        server = bytes([192, 0, 2 + number // 200 % 50, number % 200])
        server6 = bytes.fromhex("20010db8000000000000000000") + server[1:]
        src, dst, make = (host6, server6, ipv6) if six else (host4, server, ipv4)

        def sent(payload):
            return ethernet(make(src, dst, 6, payload), vlan)

        def received(payload):
            return ethernet(make(dst, src, 6, payload), vlan)

        name, kind = f"host{number % 977}.example.com", 28 if six else 1
        ident = rng.randrange(65536)
        query = dns(ident, name, kind)
        asked = number % 3
        if asked == 0:
            # The dead one: nothing comes for 5 s, then the next is asked.
            out.add(ethernet(ipv4(host4, resolvers[0], 17, udp(sport, 53, query)), vlan), 50)
            out.add(ethernet(ipv4(host4, resolvers[1], 17, udp(sport, 53, query)), vlan), 5_000_000)
            asked = 1
        else:
            out.add(ethernet(ipv4(host4, resolvers[asked], 17, udp(sport, 53, query)), vlan), 50)
        reply = dns(ident, name, kind, dst)
        out.add(ethernet(ipv4(resolvers[asked], host4, 17, udp(53, sport, reply)), vlan), 800)
        out.add(sent(tcp(sport, 443, 1000, 0, 2)), 100)
        if number % 50 == 0:
            out.add(received(tcp(443, sport, 0, 1001, 0x14)), 300)
            continue
        if number % 53 == 0:
            out.add(sent(tcp(sport, 443, 1000, 0, 2)), 1_000_000)
            out.add(sent(tcp(sport, 443, 1000, 0, 2)), 1_000_000)
            continue
        out.add(received(tcp(443, sport, 5000, 1001, 0x12)), 300)
        out.add(sent(tcp(sport, 443, 1001, 5001, 0x10)), 20)
        data, bare = received(tcp(443, sport, 5001, 1001, 0x10, filler)), sent(tcp(sport, 443, 1001, 6449, 0x10))
        for i in range(SEGMENTS):
            out.add(bare if i % 3 == 2 else data, 30)
        out.add(sent(tcp(sport, 443, 1001, 9999, 0x11)), 50)
        out.add(received(tcp(443, sport, 9999, 1002, 0x14 if number % 20 == 0 else 0x11)), 50)
        if number % 10 == 0:
            out.add(b"\xff" * 6 + host4 + b"\0\0\x08\x06\0\x01\x08\0\x06\x04\0\x01" + bytes(20), 10)
            out.add(ethernet(ipv4(host4, server, 17, udp(123, 123, bytes([35]) + bytes(47))), 0), 10)
            out.add(ethernet(ipv4(host4, server, 1, bytes([8]) + bytes(63)), 0), 10)
    out.flush()


DULL = [
    'futex(0x7f35c0000b60, FUTEX_WAIT_BITSET_PRIVATE, 0, {{tv_sec=1, tv_nsec=0}}, FUTEX_BITSET_MATCH_ANY) = -1 EAGAIN (Resource temporarily unavailable) <0.0000{:02}>',
    'mprotect(0x7f35d8{:02}c000, 4096, PROT_READ|PROT_WRITE) = 0 <0.000011>',
    'newfstatat(AT_FDCWD, "/usr/share/java/lib{:02}.jar", {{st_mode=S_IFREG|0644, st_size=11431, ...}}, 0) = 0 <0.000018>',
    'openat(AT_FDCWD, "/proc/self/fd/{:02}", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory) <0.000016>',
    'lseek(12, {:02}, SEEK_SET) = 7 <0.000008>',
    'mmap(NULL, 2621{:02}, PROT_READ, MAP_PRIVATE, 9, 0) = 0x7f35e1a4b000 <0.000021>',
    'rt_sigprocmask(SIG_BLOCK, ~[RTMIN RT_{:02}], [], 8) = 0 <0.000007>',
    'read(7</usr/lib/jvm/modules>, "\\312\\376\\272\\276\\0\\0\\0=\\0{:02}\\n\\0\\2\\0\\3\\7\\0\\4"..., 8192) = 8192 <0.000019>',
    'pread64(9, "PK\\3\\4\\n\\0\\0\\10\\0\\0{:02}\\303"..., 30, 4711) = 30 <0.000012>',
    'sched_yield() = 0 <0.0000{:02}>',
    'write(1</dev/pts/0>, "line {:02} of the program\'s output\\n", 32) = 32 <0.000014>',
]


def lookup(number, tid):
    """The lines of one lookup and connect, each with the microseconds before it."""
    fd, ident = 20 + number % 9, number % 65536
    payload = "\\%o\\%o\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3www\\7example\\3com\\0\\0\\1\\0\\1" % (ident >> 8, ident & 255)
    yield 40, f"socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = {fd} <0.000022>"
    yield 40, f'connect({fd}, {{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.53")}}, 16) = 0 <0.000019>'
    yield 40, f'sendto({fd}, "{payload}", 33, MSG_NOSIGNAL, NULL, 0) = 33 <0.000051>'
    yield 900, f"poll([{{fd={fd}, events=POLLIN}}], 1, 5000) = 1 ([{{fd={fd}, revents=POLLIN}}]) <0.000823>"
    yield 40, f"close({fd}) = 0 <0.000009>"
    yield 40, f"socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_TCP) = {fd} <0.000022>"
    yield 40, (f'connect({fd}, {{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.{number % 200}")}}, 16) '
               "= -1 EINPROGRESS (Operation now in progress) <0.000044>")
    yield 400, f"poll([{{fd={fd}, events=POLLOUT}}], 1, 10000) = 1 ([{{fd={fd}, revents=POLLOUT}}]) <0.000388>"
    yield 40, f"getsockopt({fd}, SOL_SOCKET, SO_ERROR, [0], [4]) = 0 <0.000008>"
    yield 40, f"close({fd}) = 0 <0.000009>"


def strace(file, size):
    rng = random.Random(SEED)
    micros, number, held, text = 0, 0, 0, []
    unfinished = []

    def line(after, tid, body):
        nonlocal micros, held
        micros += after
        seconds, rest = divmod(micros, 1_000_000)
        text.append(f"{tid} {START + seconds}.{rest:06} {body}\n")
        held += len(text[-1])

    count = 0
    while size > 0:
        tid = 4000 + rng.randrange(40)
        count += 1
        if count % 5000 == 0:
            number += 1
            for after, body in lookup(number, tid):
                line(after, tid, body)
        elif count % 20 == 0:
            line(20, tid + 100, "futex(0x7f35c0000b60, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>")
            unfinished.append(tid + 100)
            if len(unfinished) > 5:
                line(20, unfinished.pop(0), "<... futex resumed>) = 0 <0.000712>")
        else:
            line(20, tid, DULL[rng.randrange(len(DULL))].format(count % 100))
        if held > 1 << 20:
            file.write("".join(text))
            size -= held
            text.clear()
            held = 0
    file.write("".join(text))


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("capture", "strace"):
        sys.exit(__doc__)
    size = int(sys.argv[3]) * 1_000_000
    if sys.argv[1] == "capture":
        with open(sys.argv[2], "wb") as file:
            capture(file, size)
    else:
        with open(sys.argv[2], "w", encoding="ascii") as file:
            strace(file, size)


if __name__ == "__main__":
    main()
