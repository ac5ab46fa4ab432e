#!/usr/bin/env python3
"""http_loop.py PORT REQUESTS: so many GETs by http.client, each on a connection of its own."""
import http.client
import sys

for _ in range(int(sys.argv[2])):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()
