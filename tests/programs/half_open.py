"""What few clients send: the end of input before a request or any data, and a command of no bytes.

    half_open.py KEY
"""

import json
import sys

import paramiko

client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    "127.0.0.1",
    2222,
    username="sandbox",
    key_filename=sys.argv[1],
    allow_agent=False,
    look_for_keys=False,
)


def answer(channel):
    channel.settimeout(20)
    output = b"".join(iter(lambda: channel.recv(65536), b""))
    return [channel.recv_exit_status(), output.decode()]


def session():
    return client.get_transport().open_session()


def end_input(channel):
    """As shutdown_write(), after which paramiko itself would not let anything be asked for."""
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_CHANNEL_EOF)
    message.add_int(channel.remote_chanid)
    client.get_transport()._send_user_message(message)


before = session()
end_input(before)
before.exec_command("cat; echo after; exit 4")

without_data = session()
without_data.exec_command("cat; echo after; exit 5")
without_data.shutdown_write()

early = session()
early.sendall(b"early ")
end_input(early)
early.exec_command("cat; echo after; exit 6")

late = session()
late.exec_command("cat; for i in 1 2 3; do sleep 0.3; echo $i; done; exit 7")
late.sendall(b"in ")
late.shutdown_write()

empty = session()
empty.exec_command("")

channels = [before, without_data, early, late, empty]
print(json.dumps([answer(channel) for channel in channels]))
