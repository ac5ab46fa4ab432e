"""A scripted DNS resolver: it answers from a small zone, or misbehaves on purpose.

Standard library only. One Resolver per address; each runs in daemon threads and
writes one log row for every query it read, which is the independent truth that a
recorded capture can be checked against.

Behaviours (the words used in cases.py):
  good            answers at once, over UDP and TCP
  silent          reads queries and never answers
  slow S          answers S seconds later
  servfail        SERVFAIL to everything
  refused         rcode REFUSED to everything (not an ICMP refusal: that is `refusing`)
  nxdomain        NXDOMAIN to everything
  truncate        UDP answers carry TC and no records, TCP answers are whole
  aaaa-silent     answers every type except AAAA
  lossy K         never answers the K-th, 2K-th, ... query that it reads
  first-lost N    never answers the first N copies of a question
  refusing        nobody listens on the port: the kernel sends ICMP port unreachable
  absent          the address is not on the link: nobody answers ARP
"""
import socket
import struct
import threading
import time

TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
FLAG_RESPONSE, FLAG_TC, FLAG_RD, FLAG_RA = 0x8000, 0x0200, 0x0100, 0x0080
# Behaviours for which no socket is opened.
NO_SOCKET = ("refusing", "absent")


def read_question(message):
    """(id, name, type number, end of the question) of a query, or None when it is not one."""
    if len(message) < 17:
        return None
    ident, flags, questions = struct.unpack_from("!HHH", message)
    if flags & FLAG_RESPONSE or questions != 1:
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        length = message[at]
        if length > 63 or at + 1 + length > len(message):
            return None
        labels.append(message[at + 1:at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    if at + 5 > len(message):
        return None
    (kind,) = struct.unpack_from("!H", message, at + 1)
    return ident, ".".join(labels).lower(), kind, at + 5


def encode_name(name):
    return b"".join(bytes([len(p)]) + p.encode("ascii") for p in name.split(".") if p) + b"\0"


def encode_data(kind, value):
    if kind == 1:
        return socket.inet_aton(value)
    if kind == 28:
        return socket.inet_pton(socket.AF_INET6, value)
    return encode_name(value)


def make_answer(query, end, records, rcode=NOERROR, truncated=False):
    """The response to `query`; `records` are (type number, value) for the name asked."""
    ident, flags = struct.unpack_from("!HH", query)
    flags = FLAG_RESPONSE | FLAG_RA | (flags & FLAG_RD) | (FLAG_TC if truncated else 0) | rcode
    body = b""
    for kind, value in records:
        data = encode_data(kind, value)
        body += struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
    return struct.pack("!HHHHHH", ident, flags, 1, len(records), 0, 0) + query[12:end] + body


class Resolver:
    """One address that listens on port 53, UDP and TCP."""

    def __init__(self, address, behaviour, zone, log):
        self.address = address
        words = behaviour.split()
        self.behaviour, self.argument = words[0], float(words[1]) if len(words) > 1 else 0.0
        self.zone, self.log = zone, log
        self.lock = threading.Lock()
        self.read, self.copies = 0, {}

    def start(self):
        if self.behaviour in NO_SOCKET:
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((self.address, 53))
        threading.Thread(target=self.serve_udp, args=(udp,), daemon=True).start()
        if self.behaviour != "silent":
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((self.address, 53))
            tcp.listen(16)
            threading.Thread(target=self.serve_tcp, args=(tcp,), daemon=True).start()

    def decide(self, query, transport):
        """(response or None, seconds to hold it back, log row) for one message."""
        question = read_question(query)
        if question is None:
            return None, 0.0, {}
        ident, name, kind, end = question
        with self.lock:
            self.read += 1
            nth = self.read
            copy = self.copies[(name, kind)] = self.copies.get((name, kind), 0) + 1
        records, rcode, truncated, delay, lost = self.zone(name, kind), NOERROR, False, 0.0, False
        if records is None:
            records, rcode = [], NXDOMAIN
        word = self.behaviour
        if word == "silent" or (word == "aaaa-silent" and kind == 28):
            lost = True
        elif word == "lossy":
            lost = nth % int(self.argument) == 0
        elif word == "first-lost":
            lost = copy <= int(self.argument)
        elif word == "slow":
            delay = self.argument
        elif word == "truncate" and transport == "udp":
            records, truncated = [], True
        elif word in ("servfail", "refused", "nxdomain"):
            records, rcode = [], {"servfail": SERVFAIL, "refused": REFUSED, "nxdomain": NXDOMAIN}[word]
        row = {"at": time.time(), "resolver": self.address, "transport": transport, "id": ident,
               "question": "%s %s" % (TYPES.get(kind, "TYPE%d" % kind), name), "answered": False}
        self.log(row)
        return (None if lost else make_answer(query, end, records, rcode, truncated)), delay, row

    def serve_udp(self, sock):
        while True:
            query, peer = sock.recvfrom(4096)
            answer, delay, row = self.decide(query, "udp")
            if answer is None:
                continue

            def send(answer=answer, peer=peer, row=row):
                sock.sendto(answer, peer)
                row["answered"] = True  # only what has left counts
            if delay:
                timer = threading.Timer(delay, send)
                timer.daemon = True
                timer.start()
            else:
                send()

    def serve_tcp(self, listener):
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=self.serve_stream, args=(conn,), daemon=True).start()

    def serve_stream(self, conn):
        conn.settimeout(30)
        with conn:
            try:
                while True:
                    (length,) = struct.unpack("!H", read_exactly(conn, 2))
                    answer, delay, row = self.decide(read_exactly(conn, length), "tcp")
                    if answer is not None:
                        time.sleep(delay)
                        conn.sendall(struct.pack("!H", len(answer)) + answer)
                        row["answered"] = True
            except (OSError, EOFError):
                return


def read_exactly(conn, count):
    data = b""
    while len(data) < count:
        more = conn.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def static_zone(table):
    """A lookup function over {"TYPE name": [values]}; None means NXDOMAIN, [] means no data."""
    numbers = {word: number for number, word in TYPES.items()}
    names = {}
    for key, values in table.items():
        word, name = key.split()
        names.setdefault(name.lower(), {})[numbers[word]] = values

    def look_up(name, kind):
        if name not in names:
            return None
        return [(kind, value) for value in names[name].get(kind, [])]

    return look_up
