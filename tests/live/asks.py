"""asks.py WAY: a client that asks resolvers by its own DNS messages, in ways that stub resolvers use and glibc does not.

Names are NUMBER.example.lab, ids are the numbers. Prints the ids of the answers.
"""
import os
import queue
import socket
import struct
import sys
import threading
import time

GOOD, ABSENT, SERVER = ("10.0.1.93", 53), ("10.0.1.92", 53), ("192.168.110.231", 80)


def message(number, name=None):
    labels = (name or "n%d.example.lab" % number).split(".")
    coded = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + coded + b"\0\0\1\0\1"


def datagrams(to=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(8)
    if to:
        s.connect(to)
    return s


def read(s):
    print(struct.unpack_from("!H", s.recv(512))[0], flush=True)


def busy():
    """More calls than a thread is followed for."""
    for _ in range(60):
        os.getppid()


def evdns():
    """libevent's resolver: one connected socket for each name server, used again after seconds of other work; of a second
    name server the link has no host."""
    s = datagrams(GOOD)
    for number in (1, 2, 3):
        s.send(message(number))
        read(s)
        busy()
        time.sleep(1)
    absent = datagrams(ABSENT)
    absent.send(message(4))
    try:
        absent.recv(512)
    except OSError as error:
        print(type(error).__name__)


def left_open():
    """The socket to the resolver stays open while a server is connected to."""
    s = datagrams(GOOD)
    s.send(message(1, "web.example.lab"))
    read(s)
    busy()
    socket.create_connection(SERVER).close()


def closed():
    """The same, but it is closed."""
    s = datagrams(GOOD)
    s.send(message(1, "web.example.lab"))
    read(s)
    s.close()
    busy()
    socket.create_connection(SERVER).close()


def unconnected():
    """sendmsg(2) with an address, as libuv, Netty and avahi send; then again after other work, by the same socket."""
    s = datagrams()
    s.sendmsg([message(1)[:9], message(1)[9:]], [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("i", 0))], 0, GOOD)
    read(s)
    busy()
    s.sendmsg([message(2)], [], 0, GOOD)
    read(s)


def elsewhere_first():
    """A socket that is used for something else first."""
    s = datagrams()
    s.sendto(b"x", (SERVER[0], 443))
    busy()
    s.sendto(message(1), GOOD)
    while True:
        try:
            return read(s)
        except ConnectionRefusedError:
            pass


def threads():
    """A thread that exists already asks on a socket that another one has connected, and then on one that it has made."""
    given, done = queue.Queue(), queue.Queue()

    def ask():
        for number in (1, 2):
            s = given.get()
            s.sendto(message(number), GOOD) if number == 2 else s.send(message(number))
            read(s)
            done.put(number)
    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    print("tid", thread.native_id)
    for s in (datagrams(GOOD), datagrams()):
        busy()
        given.put(s)
        done.get()
        time.sleep(0.4)
    thread.join()


def vanishing():
    """A thread that exists already asks on a socket that another one has made, and closes it as soon as it has its answer."""
    given, done = queue.Queue(), queue.Queue()

    def ask():
        s = given.get()
        s.sendto(message(1), GOOD)
        read(s)
        s.close()
        done.put(1)
    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    s = datagrams()
    busy()
    given.put(s)
    done.get()
    time.sleep(0.5)
    thread.join()


def fork():
    """A child asks on its parent's socket, and the parent after it."""
    s = datagrams(GOOD)
    pid = os.fork()
    if pid == 0:
        s.send(message(1))
        read(s)
        os._exit(0)
    os.waitpid(pid, 0)
    print("child", pid)
    s.send(message(2))
    read(s)


def daemon():
    """A process makes a socket, forks and ends; its child asks on it later."""
    ends, ready = os.pipe()
    if os.fork() == 0:
        s = datagrams(GOOD)
        s.send(message(1))
        read(s)
        if os.fork() == 0:
            busy()
            time.sleep(0.3)
            s.send(message(2))
            read(s)
            os.write(ready, b"x")
        os._exit(0)
    os.read(ends, 1)
    time.sleep(0.1)


def stream(s, numbers):
    for number in numbers:
        whole = message(number)
        s.send(struct.pack("!H", len(whole)))
        s.send(whole[:7])
        time.sleep(0.05)
        s.send(whole[7:])
        answer = b""
        while len(answer) < 2 or len(answer) < 2 + struct.unpack_from("!H", answer)[0]:
            answer += s.recv(512)
        print(struct.unpack_from("!H", answer, 2)[0])


def tcp():
    """Over TCP, each query in three pieces, two on one connection."""
    s = socket.create_connection(GOOD)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream(s, (1, 2))


def fast_open():
    """Over TCP, connected by the send itself."""
    s = socket.socket()
    whole = message(1)
    s.sendto(struct.pack("!H", len(whole)) + whole, socket.MSG_FASTOPEN, GOOD)
    print(struct.unpack_from("!H", s.recv(512), 2)[0])


globals()[sys.argv[1]]()
