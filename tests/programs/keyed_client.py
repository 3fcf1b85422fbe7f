"""What a sandboxed program does with the placeholders in its environment: requests, WebSocket and AWS's own library."""

import os
import sys
import time

HOST = "secure.example"


def rest():
    import requests

    token = os.environ["TOKEN"]
    base = f"https://{HOST}:8443"
    with requests.Session() as session:
        for answer in (
            session.get(f"{base}/plain/query", params={"key": token, "other": "a b"}),
            session.get(f"{base}/plain/basic", auth=("user", token)),
            session.post(f"{base}/body/json", json={"token": token, "list": [token]}),
            session.post(f"{base}/body/form", data={"token": token}),
            session.post(f"{base}/body/text", data=f"it is {token}.", headers={"Content-Type": "text/plain"}),
            session.post(f"{base}/plain/json", json={"token": token}),
        ):
            print(answer.status_code)


def chat():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    token = os.environ["TOKEN"]
    with connect(f"wss://{HOST}:9443/chat") as connection:
        for message in (f'{{"token": "{token}"}}', f"plainly {token}", "no secret", [f"in {token[:5]}", token[5:]]):
            connection.send(message)
            print(connection.recv(timeout=20))
        try:
            connection.send("sandgate:NOBODYS")
            print(connection.recv(timeout=20))
        except ConnectionClosed as closed:
            print(closed.rcvd.code)


def aws():
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    place = {"region_name": "eu-west-1", "endpoint_url": f"https://{HOST}:8443/aws", "config": config}
    s3 = session.create_client("s3", **place)
    s3.put_object(Bucket="bucket", Key="a key/with:odd=parts", Body=b"content")
    s3.list_objects_v2(Bucket="bucket", Prefix="a b+c", Delimiter="/")
    # The library's own default since 2025 is a checksum behind the body, which then nobody can have hashed before.
    place["config"] = config.merge(Config(request_checksum_calculation="when_required"))
    place["endpoint_url"] += "/whole"
    session.create_client("s3", **place).put_object(Bucket="bucket", Key="k", Body=b"x" * 100000)
    place["endpoint_url"] = f"https://{HOST}:8443/aws/none"
    session.create_client("s3", **place).put_object(Bucket="bucket", Key="k", Body=b"y" * 100000)
    place["endpoint_url"] = f"https://{HOST}:8443/aws/tables"
    session.create_client("dynamodb", **place).list_tables()
    print("done")


def stay():
    rest()
    chat()
    print("used", flush=True)
    time.sleep(600)


{"rest": rest, "chat": chat, "aws": aws, "stay": stay}[sys.argv[1]]()
