"""Servers behind TLS, on the upstream's side: HTTP/1.1 on 8443 with a git repository and registries of packages, gRPC on 50051,
WebSocket on 9443.

secure.py CERTIFICATE KEY REPOSITORIES READY
"""

import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
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
        if target.path == "/public/events":
            return self.events()
        if found := package(target.path):
            return self.reply(200, *found)
        self.reply(200, "text/plain", b"%s %s %d\n" % (self.command.encode(), self.path.encode(), len(body)))

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        """Server-sent events, half a second apart."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            data = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            time.sleep(0.5)
        self.wfile.write(b"0\r\n\r\n")

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


SITE = "https://secure.example:8443"


def package(path):
    """What the registries of pip, npm and cargo have under a path. Each has a package of any name, version 1.0.0."""
    match path.strip("/").split("/"):
        case ["simple", name]:
            file = f"{name}-1.0.0-py3-none-any.whl"
            return "text/html", f'<!DOCTYPE html><html><body><a href="/files/{file}">{file}</a></body></html>'.encode()
        case ["files", file]:
            return "application/zip", wheel(file.split("-")[0])
        case ["npm", name]:
            return "application/json", npm_index(name)
        case ["npm", name, "-", _]:
            return "application/gzip", npm_archive(name)
        case ["crates", "config.json"]:
            return "application/json", json.dumps({"dl": f"{SITE}/crates/dl"}).encode()
        case ["crates", "dl", name, "1.0.0", "download"]:
            return "application/gzip", crate(name)
        case ["crates", _, _, name]:
            entry = {"name": name, "vers": "1.0.0", "deps": [], "cksum": hashlib.sha256(crate(name)).hexdigest(), "features": {}, "yanked": False}
            return "text/plain", json.dumps(entry).encode() + b"\n"
    return None


def wheel(name):
    info = f"{name}-1.0.0.dist-info"
    files = {
        f"{name}.py": "VALUE = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return packed.getvalue()


def archive(files):
    """A tar file that is the same each time it is made."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return subprocess.run(["gzip", "-n"], input=packed.getvalue(), capture_output=True, check=True).stdout


def npm_archive(name):
    manifest = json.dumps({"name": name, "version": "1.0.0", "main": "index.js"})
    return archive({"package/package.json": manifest, "package/index.js": "module.exports = 1;\n"})


def npm_index(name):
    digest = base64.b64encode(hashlib.sha512(npm_archive(name)).digest()).decode()
    dist = {"tarball": f"{SITE}/npm/{name}/-/{name}-1.0.0.tgz", "integrity": f"sha512-{digest}"}
    version = {"name": name, "version": "1.0.0", "dist": dist}
    return json.dumps({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}).encode()


def crate(name):
    manifest = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n'
    return archive({f"{name}-1.0.0/Cargo.toml": manifest, f"{name}-1.0.0/src/lib.rs": "pub const VALUE: u8 = 1;\n"})


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
