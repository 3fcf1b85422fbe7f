"""Servers on the upstream's side for connections that last: HTTP/1.1 on 8443, gRPC on 50051, WebSocket on 9443 and
9444 behind TLS and on 9445 to 9447 without. How they ended is written to READY.ended.

live.py CERTIFICATE KEY REPOSITORIES READY
"""

import ssl
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

CERTIFICATE, KEY, _, READY = sys.argv[1:5]


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE, KEY)
    return made


def ended(what):
    with open(READY + ".ended", "a") as file:
        file.write(what + "\n")


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A connection that was cut."""


def http():
    server = HttpServer(("0.0.0.0", 8443), Http)
    server.socket = context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def rpc():
    def once(request, _context):
        return b"echo " + request

    def each(name):
        def answer(requests, context):
            context.add_callback(lambda: ended(f"grpc {name}"))
            for request in requests:
                yield b"echo " + request

        return grpc.stream_stream_rpc_method_handler(answer)

    methods = {"Once": grpc.unary_unary_rpc_method_handler(once), "Each": each("Each"), "Kept": each("Kept")}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    with open(KEY, "rb") as key, open(CERTIFICATE, "rb") as certificate:
        server.add_secure_port("0.0.0.0:50051", grpc.ssl_server_credentials([(key.read(), certificate.read())]))
    server.start()
    return server


def chat(port):
    def echo(connection):
        try:
            while True:
                connection.send(connection.recv())
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else "cut"
            ended(f"{port} {connection.request.path} {code}")

    server = serve(echo, "0.0.0.0", port, ssl=context() if port < 9445 else None)
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    http()
    held = rpc()
    for number in range(9443, 9448):
        chat(number)
    open(READY, "w").close()
    threading.Event().wait()
