"""Servers behind TLS, on the upstream's side: HTTP/1.1 with a git repository on 8443, gRPC on 50051, WebSocket on 9443.

secure.py CERTIFICATE KEY REPOSITORIES READY
"""

import os
import ssl
import subprocess
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import grpc
from websockets.sync.server import serve

CERTIFICATE, KEY, REPOSITORIES, READY = sys.argv[1:5]


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE, KEY)
    return made


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def answer(self):
        body = self.body()
        target = urlsplit(self.path)
        if ".git/" in target.path:
            return self.git(target, body)
        self.reply(200, "text/plain", b"%s %s %d\n" % (self.command.encode(), self.path.encode(), len(body)))

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def git(self, target, body):
        """git-http-backend(1), a CGI program."""
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": REPOSITORIES,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "http.receivepack",
            "GIT_CONFIG_VALUE_1": "true",
            "PATH_INFO": target.path,
            "QUERY_STRING": target.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        out = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200 OK").split()[0])
        self.reply(status, fields.get("Content-Type", "text/plain"), content)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def http():
    server = ThreadingHTTPServer(("0.0.0.0", 8443), Http)
    server.socket = context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever).start()


def rpc():
    def once(request, _context):
        return b"echo " + request

    def each(requests, context):
        context.set_trailing_metadata((("x-count", "many"),))
        for request in requests:
            yield b"echo " + request

    methods = {
        "Once": grpc.unary_unary_rpc_method_handler(once),
        "Each": grpc.stream_stream_rpc_method_handler(each),
        "Secret": grpc.unary_unary_rpc_method_handler(once),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    with open(KEY, "rb") as key, open(CERTIFICATE, "rb") as certificate:
        server.add_secure_port("0.0.0.0:50051", grpc.ssl_server_credentials([(key.read(), certificate.read())]))
    server.start()
    return server


def echo(connection):
    for message in connection:
        connection.send(message)


if __name__ == "__main__":
    http()
    held = rpc()
    with serve(echo, "0.0.0.0", 9443, ssl=context()) as server:
        open(READY, "w").close()
        server.serve_forever()
