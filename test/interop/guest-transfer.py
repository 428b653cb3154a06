"""One end of a checked TCP transfer inside a guest, the mate of test/rig/transfer.mjs: `receive ADDRESS PORT` and
`send ADDRESS PORT BYTES` print what they counted and hashed as `BYTES SHA256`. What is sent is random."""
import hashlib
import os
import socket
import sys

mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
digest, count = hashlib.sha256(), 0
family = socket.AF_INET6 if ":" in address else socket.AF_INET

if mode == "receive":
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(1)
    print("ready", flush=True)
    connection, _ = server.accept()
    while data := connection.recv(1 << 16):
        digest.update(data)
        count += len(data)
else:
    connection = socket.create_connection((address, port), timeout=20)
    connection.settimeout(120)
    total, block = int(sys.argv[4]), os.urandom(1 << 16)
    while count < total:
        data = block[: total - count]
        connection.sendall(data)
        digest.update(data)
        count += len(data)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
connection.close()
print(count, digest.hexdigest(), flush=True)
