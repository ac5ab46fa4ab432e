"""Scripted TCP servers: the targets that the clients finally connect to.

Behaviours (the words used in cases.py):
  http        answers any HTTP request with an empty 200 and closes
  zookeeper   enough of the ZooKeeper protocol for `zkCli.sh ... ls /` to end well
  accept      accepts and says nothing; closes when the client does
  reset       accepts, then resets
  closed      nobody listens: the kernel answers a SYN with RST
  drop        the address answers ARP, the port drops every SYN (a routing rule in stage.py)
"""
import socket
import struct
import threading

from resolver import read_exactly

# Behaviours for which no socket is opened.
NO_SOCKET = ("closed", "drop")
OP_GET_CHILDREN, OP_GET_CHILDREN2, OP_CLOSE = 8, 12, -11


class Server:
    """One listening address and port."""

    def __init__(self, address, port, behaviour):
        self.address, self.port, self.behaviour = address, port, behaviour

    def start(self):
        if self.behaviour in NO_SOCKET:
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(64)
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()

    def serve(self, listener):
        talk = {"http": http, "zookeeper": zookeeper, "accept": accept, "reset": reset}[self.behaviour]
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=guarded, args=(talk, conn), daemon=True).start()


def guarded(talk, conn):
    conn.settimeout(60)
    with conn:
        try:
            talk(conn)
        except (OSError, EOFError, struct.error):
            return


def http(conn):
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 65536:
        more = conn.recv(4096)
        if not more:
            return
        request += more
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def accept(conn):
    while conn.recv(4096):
        pass


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def frame(body):
    return struct.pack("!i", len(body)) + body


def zookeeper(conn):
    """Connect, then replies whose bodies are empty save for the children of `/`."""
    (length,) = struct.unpack("!i", read_exactly(conn, 4))
    hello = read_exactly(conn, min(length, 1024))
    timeout = struct.unpack_from("!i", hello, 12)[0]
    # ConnectResponse: protocol version, timeout, session id, 16-byte password, read-only flag.
    conn.sendall(frame(struct.pack("!iiqi", 0, timeout, 0x1000000, 16) + bytes(16) + b"\0"))
    while True:
        (length,) = struct.unpack("!i", read_exactly(conn, 4))
        request = read_exactly(conn, min(length, 65536))
        xid, kind = struct.unpack_from("!ii", request)
        body = b""
        if kind in (OP_GET_CHILDREN, OP_GET_CHILDREN2):
            body = struct.pack("!ii", 1, 9) + b"zookeeper"
            # Stat: czxid mzxid ctime mtime version cversion aversion owner length children pzxid
            body += bytes(68) if kind == OP_GET_CHILDREN2 else b""
        conn.sendall(frame(struct.pack("!iqi", xid, 1, 0) + body))
        if kind == OP_CLOSE:
            return
