"""One request in TLS through a forward on 127.0.0.1:9003; with `half`, the client says that it has said all (close_notify,
RFC 8446 §6.1) and closes its sending half before it reads.

half_closed.py ROOTS [half]
"""

import socket
import ssl
import sys

raw = socket.create_connection(("127.0.0.1", 9003), 10)
arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = ssl.create_default_context(cafile=sys.argv[1]).wrap_bio(arrived, leaving, server_hostname="secure.example")


def finish(step):
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            if leaving.pending:
                raw.sendall(leaving.read())
            data = raw.recv(65536)
            if data:
                arrived.write(data)
            else:
                arrived.write_eof()


finish(tls.do_handshake)
tls.write(b"GET /public/x HTTP/1.1\r\nHost: secure.example:8443\r\n\r\n")
if len(sys.argv) > 2:
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    raw.sendall(leaving.read())
    raw.shutdown(socket.SHUT_WR)
print(finish(lambda: tls.read(12)))
