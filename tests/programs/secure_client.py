"""What a sandboxed program does without a word about proxies or certificates: requests, httpx, gRPC and WebSocket."""

import sys
import time

HOST = "secure.example"


def rest():
    import requests

    with requests.Session() as session:
        for path in ("public/a", "public/b", "secret"):
            print(session.get(f"https://{HOST}:8443/{path}", timeout=20).status_code)
        for path in ("public/up", "secret"):
            print(session.post(f"https://{HOST}:8443/{path}", data=bytes(13 << 20), timeout=20).status_code)


def both():
    import httpx

    for two in (False, True):
        with httpx.Client(http1=not two, http2=two, timeout=20) as client:
            answers = [client.get(f"https://{HOST}:8443/{path}") for path in ("public/a", "secret")]
            answers += [client.post(f"https://{HOST}:8443/{path}", content=bytes(13 << 20)) for path in ("public/up", "secret")]
            print(answers[0].http_version, *(answer.status_code for answer in answers))
            with client.stream("GET", f"https://{HOST}:8443/public/events") as events:
                came = [(line, time.monotonic()) for line in events.iter_lines() if line]
            print(*(line for line, _ in came), "bit by bit" if came[-1][1] - came[0][1] > 0.8 else "at once")


def rpc():
    import grpc

    channel = grpc.secure_channel(f"{HOST}:50051", grpc.ssl_channel_credentials())
    once = channel.unary_unary("/test.Echo/Once")
    print(once(b"hello", timeout=20).decode())
    call = channel.stream_stream("/test.Echo/Each")(iter([b"a", b"b", b"c"]), timeout=20)
    print(" ".join(answer.decode() for answer in call), call.trailing_metadata()[0].value)
    try:
        channel.unary_unary("/test.Echo/Secret")(b"hello", timeout=20)
        print("allowed")
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def chat():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(f"wss://{HOST}:9443/chat") as connection:
        connection.send("hello")
        print(connection.recv(timeout=20))
        connection.send(["in ", "two"])
        print(connection.recv(timeout=20))
        try:
            connection.send(b"binary")
            print(connection.recv(timeout=20))
        except ConnectionClosed as closed:
            print(closed.rcvd.code)


def fragment():
    """HTTP/2 with a fragment in `:path`, which no ordinary client sends (RFC 9113 §8.3.1)."""
    import os
    import socket
    import ssl
    from urllib.parse import urlsplit

    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, ResponseReceived, StreamEnded

    proxy = urlsplit(os.environ["HTTP_PROXY"])
    tunnel = socket.create_connection((proxy.hostname, proxy.port), 20)
    tunnel.sendall(f"CONNECT {HOST}:8443 HTTP/1.1\r\nHost: {HOST}:8443\r\n\r\n".encode())
    assert b" 200" in tunnel.recv(4096)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_socket(tunnel, server_hostname=HOST)
    connection = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    connection.initiate_connection()
    for stream, path in ((1, "/public/x?y=z#/secret"), (3, "/secret#/public/x"), (5, "/public/x%23y")):
        connection.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", f"{HOST}:8443"),
                                         (":path", path)], end_stream=True)
        tls.sendall(connection.data_to_send())
        over, status, body = False, None, b""
        while not over:
            for event in connection.receive_data(tls.recv(65536)):
                if isinstance(event, ResponseReceived):
                    status = dict(event.headers)[b":status"].decode()
                elif isinstance(event, DataReceived):
                    body += event.data
                over = over or isinstance(event, StreamEnded)
            tls.sendall(connection.data_to_send())
        print(status, body.decode().strip() if status == "200" else "")


{"rest": rest, "both": both, "rpc": rpc, "chat": chat, "fragment": fragment}[sys.argv[1]]()
