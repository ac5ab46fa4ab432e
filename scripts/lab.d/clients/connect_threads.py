"""Connect to several names at once, one thread each: connect_threads.py PORT HOST..."""
import socket
import sys
import threading
import time


def connect(host, port):
    with socket.create_connection((host, port)) as conn:
        print(host, "connected to", conn.getpeername()[0], flush=True)


port = int(sys.argv[1])
threads = [threading.Thread(target=connect, args=(host, port)) for host in sys.argv[2:]]
for thread in threads:
    thread.start()
    time.sleep(0.7)  # overlapping lookups, not simultaneous ones
for thread in threads:
    thread.join()
