"""Connect to several names one after the other: connect_many.py PORT HOST..."""
import socket
import sys

port = int(sys.argv[1])
for host in sys.argv[2:]:
    with socket.create_connection((host, port)) as conn:
        print(host, "connected to", conn.getpeername()[0])
