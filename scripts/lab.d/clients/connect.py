"""Connect by name, as a small service would: connect.py HOST PORT [SECONDS PER ADDRESS]."""
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None
with socket.create_connection((host, port), timeout=seconds) as conn:
    print("connected to", conn.getpeername()[0])
