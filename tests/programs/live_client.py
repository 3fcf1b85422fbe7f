"""What a sandboxed program holds open, or asks for again and again, while policies change.

live_client.py long|load
"""

import itertools
import os
import queue
import socket
import sys
import threading
from urllib.parse import urlsplit

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HOST = "secure.example"


class Chat:
    def __init__(self, url):
        self.connection = connect(url)

    def say(self):
        try:
            self.connection.send("hi")
            return self.connection.recv(timeout=20)
        except ConnectionClosed as closed:
            return str(closed.rcvd.code) if closed.rcvd else "cut"


class Stream:
    def __init__(self, channel, method):
        self.requests = queue.Queue()
        self.call = channel.stream_stream(f"/test.Echo/{method}")(iter(self.requests.get, None), timeout=120)

    def say(self):
        import grpc

        try:
            self.requests.put(b"hi")
            return next(self.call).decode()
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"


def long():
    """Says something on every connection for each line of its input, and what came of it."""
    import grpc

    channel = grpc.secure_channel(f"{HOST}:50051", grpc.ssl_channel_credentials())
    lasting = {
        "judged": Chat(f"wss://{HOST}:9443/chat"),
        "judged-kept": Chat(f"wss://{HOST}:9443/kept"),
        "passed": Chat(f"wss://{HOST}:9444/chat"),
        "passed-kept": Chat(f"wss://{HOST}:9444/kept"),
        "tunnel": Chat(f"ws://{HOST}:9445/chat"),
        "tunnel-kept": Chat(f"ws://{HOST}:9446/kept"),
        "grpc": Stream(channel, "Each"),
        "grpc-kept": Stream(channel, "Kept"),
    }
    session = requests.Session()

    def once():
        try:
            return channel.unary_unary("/test.Echo/Once")(b"hi", timeout=20).decode()
        except grpc.RpcError as error:
            return error.code().name

    while sys.stdin.readline():
        for name, one in lasting.items():
            print(name, one.say())
        print("next-h2", once())
        for path in ("public", "kept"):
            print("next-h1", path, session.get(f"https://{HOST}:8443/{path}/a", timeout=20).status_code)
        print("round", flush=True)
    os._exit(0)


def load():
    """Asks until its input ends; says how often, and what it did not expect."""
    over = threading.Event()
    counts = {"requests": 0, "tunnels": 0, "cut": 0}
    surprises = []
    held = Chat(f"ws://{HOST}:9447/held")
    proxy = urlsplit(os.environ["HTTP_PROXY"])

    def ask():
        session = requests.Session()
        for path in itertools.cycle(("/a/x", "/both/a", "/b/x", "/both/b")):
            if over.is_set():
                return
            try:
                answer = session.get(f"https://{HOST}:8443{path}", timeout=20)
                counts["requests"] += 1
                if answer.status_code != 403 and (answer.status_code, answer.text) != (200, path):
                    surprises.append(f"{path} {answer.status_code} {answer.text}")
            except requests.RequestException:
                # A policy took back what was under way.
                counts["cut"] += 1

    def tunnel():
        for port in itertools.cycle((9445, 9446)):
            if over.is_set():
                return
            with socket.create_connection((proxy.hostname, proxy.port), timeout=20) as connection:
                connection.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
                status = connection.makefile("rb").readline().split()
            counts["tunnels"] += 1
            if status[1:2] not in ([b"200"], [b"403"]):
                surprises.append(f"{port} {status}")

    threads = [threading.Thread(target=run) for run in [ask] * 6 + [tunnel]]
    for thread in threads:
        thread.start()
    print("asking", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print("held", held.say())
    print(counts)
    print("surprises", surprises)


{"long": long, "load": load}[sys.argv[1]]()
