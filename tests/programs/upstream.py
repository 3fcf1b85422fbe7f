"""The test world's servers: HTTP on several ports of every address, and optionally DNS.

Each accepted connection and each question is a line in the log before it is answered:
    tcp ADDRESS PORT
    dns NAME
"""

import json
import os
import socket
import socketserver
import struct
import sys
import threading

PORTS = [80, 443, 6443, 8080]

# Name -> successive answers; the last one stays. An answer is a list of addresses.
NAMES = {
    "allowed.example": [["20.30.40.10"]],
    "secure.example": [["20.30.40.10"]],
    "behind.example": [["30.31.32.33"]],  # where only a test's own proxy gets
    "denied.example": [["20.30.40.11"]],
    "six.example": [["2a00:1:1::10"]],
    "private.example": [["10.9.9.9"]],
    "ula.example": [["fd00:9::9"]],
    "metadata.example": [["169.254.169.254"]],
    "loopback.example": [["127.0.0.1"]],
    "zero.example": [["0.0.0.0"]],
    # Below *.wild.example a policy names no host exactly: only public addresses pass.
    "public.wild.example": [["20.30.40.10"]],
    "six.wild.example": [["2a00:1:1::10"]],
    "private.wild.example": [["10.9.9.9"]],
    "cgnat.wild.example": [["100.64.9.9"]],
    "ula.wild.example": [["fd00:9::9"]],
    "metadata.wild.example": [["169.254.169.254"]],
    "loopback.wild.example": [["127.0.0.1"]],
    "loopback6.wild.example": [["::1"]],
    "zero.wild.example": [["0.0.0.0"]],
    "documentation.wild.example": [["203.0.113.10"]],
    "own.wild.example": [["20.30.40.1"]],
    "mapped.wild.example": [["::ffff:10.9.9.9"]],
    "mappedmeta.wild.example": [["::ffff:169.254.169.254"]],
    "mixed.wild.example": [["20.30.40.10", "10.9.9.9"]],
    "rebind.wild.example": [["20.30.40.10"], ["10.9.9.9"]],
}

LOG = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def log(line):
    os.write(LOG, (line + "\n").encode())


class Http(socketserver.StreamRequestHandler):
    timeout = 30

    def setup(self):
        address, port = self.request.getsockname()[:2]
        self.here = (address.removeprefix("::ffff:"), port)
        super().setup()

    def handle(self):
        while self.answer_one():
            pass

    def answer_one(self):
        try:
            first = self.rfile.readline(65536).decode("latin-1").split()
        except OSError:
            return False
        if len(first) != 3:
            return False
        headers = {}
        while (line := self.rfile.readline(65536)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", "0")))
        seen = {
            "method": first[0],
            "target": first[1],
            "headers": headers,
            "body": len(body),
            "address": self.here[0],
            "port": self.here[1],
        }
        if first[1].startswith("/bytes/"):
            answer = b"x" * int(first[1].removeprefix("/bytes/"))
        else:
            answer = json.dumps(seen).encode() + b"\n"
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
        if first[0] != "HEAD":
            self.wfile.write(answer)
        return headers.get("connection", "").lower() != "close"


class Listener(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def get_request(self):
        connection, peer = super().get_request()
        address, port = connection.getsockname()[:2]
        log(f"tcp {address.removeprefix('::ffff:')} {port}")
        return connection, peer

    def handle_error(self, request, client_address):
        pass  # a client that went away


def dns_answer(question, asked):
    """One question in, one answer out (RFC 1035 §4); no compression but for the name's pointer."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode("latin-1").lower())
        at += question[at] + 1
    name = ".".join(labels)
    kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
    log(f"dns {name}")
    answers = NAMES.get(name)
    records = []
    if answers:
        turn = asked.get((name, kind), 0)
        asked[(name, kind)] = turn + 1
        for address in answers[min(turn, len(answers) - 1)]:
            family, code = (socket.AF_INET6, 28) if ":" in address else (socket.AF_INET, 1)
            if code == kind:
                data = socket.inet_pton(family, address)
                records.append(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data)
    flags = 0x8580 if answers else 0x8583
    head = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return head + question[12 : at + 5] + b"".join(records)


def dns():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("20.30.40.10", 53))
    asked = {}
    while True:
        question, peer = server.recvfrom(4096)
        server.sendto(dns_answer(question, asked), peer)


if __name__ == "__main__":
    if sys.argv[2] == "dns":
        PORTS.append(53)  # answers that are long, and whoever hopes that TCP was forgotten
    threads = [threading.Thread(target=Listener(("::", p), Http).serve_forever) for p in PORTS]
    if sys.argv[2] == "dns":
        threads.append(threading.Thread(target=dns))
    for thread in threads:
        thread.start()
    log("ready")
