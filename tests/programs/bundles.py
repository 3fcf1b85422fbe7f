"""Bundles as OPA makes them, by Python's own tar and by PyJWT; and a server behind TLS that hands them out.

bundles.py keys DIRECTORY
bundles.py pack OUT SPECIFICATION             (JSON: see `pack`)
bundles.py serve DIRECTORY CERTIFICATE KEY    (DIRECTORY/bundle.tar.gz; DIRECTORY/log is written)
"""

import base64
import hashlib
import hmac
import io
import json
import os
import ssl
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


def keys(directory):
    made = {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "other": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    pem = serialization.Encoding.PEM
    for name, key in made.items():
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        Path(directory, f"{name}.key").write_bytes(private)
        Path(directory, f"{name}.pem").write_bytes(public)


def digest(name, text):
    """OPA: of JSON that of its canonical form, of anything else that of its bytes."""
    if name == ".manifest" or name.split("/")[-1] == "data.json":
        text = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def by_hand(header, payload, signature):
    """A token as no library makes one."""
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    message = part(json.dumps(header).encode()) + b"." + part(json.dumps(payload).encode())
    return (message + b"." + part(signature(message))).decode()


def pack(out, files, key=None, algorithm="RS256", keyid=None, scope="", after=None, links=(), public=None):
    """`after` replaces files once they are signed; `links` are links beside them."""
    signed = [{"name": name, "hash": digest(name, text), "algorithm": "SHA-256"} for name, text in files.items()]
    payload = {"files": signed, "scope": scope}
    if keyid:
        payload["keyid"] = keyid
    token = None
    if algorithm == "none":
        token = by_hand({"alg": "none"}, payload, lambda message: b"")
    elif algorithm == "HS256":
        secret = Path(public).read_bytes()
        token = by_hand({"alg": "HS256"}, payload, lambda message: hmac.digest(secret, message, "sha256"))
    elif key:
        token = jwt.encode(payload, Path(key).read_text(), algorithm)
    files = {**files, **(after or {})}
    if token:
        files[".signatures.json"] = json.dumps({"signatures": [token]})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo("/" + name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        for name in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
            archive.addfile(entry)
    new = Path(out + ".new")
    new.write_bytes(made.getvalue())
    new.rename(out)


class Bundles(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        directory = self.server.directory
        if (directory / "slow").exists():
            time.sleep(4)
        body = (directory / "bundle.tar.gz").read_bytes()
        etag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        asked = self.headers.get("If-None-Match", "-")
        status = 200
        if (directory / "redirect").exists():
            status = 302
        elif asked == etag:
            status = 304
        if (directory / "large").exists():
            body = os.urandom(1 << 20) * 6
        with open(directory / "log", "a") as log:
            print(status, self.path, asked, self.headers.get("Authorization", "-"), file=log)
        self.send_response(status)
        self.send_header("ETag", etag)
        if status == 302:
            self.send_header("Location", "https://secure.example:8443/elsewhere")
        body = body if status == 200 else b""
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(directory, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("20.30.40.10", 8443), Bundles)
    server.directory = Path(directory)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    (server.directory / "ready").touch()
    server.serve_forever()


match sys.argv[1:]:
    case ["keys", directory]:
        keys(directory)
    case ["pack", out, specification]:
        pack(out, **json.loads(specification))
    case ["serve", directory, certificate, key]:
        serve(directory, certificate, key)
