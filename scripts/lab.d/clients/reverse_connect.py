"""Look up the name of an address, then connect to the address: reverse_connect.py ADDRESS PORT."""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
try:
    print(address, "is", socket.gethostbyaddr(address)[0])
except OSError as error:
    print(address, "has no name:", error)
with socket.create_connection((address, port)) as conn:
    print("connected to", conn.getpeername()[0])
