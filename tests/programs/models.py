"""Model endpoints behind TLS, on the upstream's side, in the shapes of OpenAI and Anthropic, on 8443;
and without TLS on 8081.

models.py CERTIFICATE KEY LOG READY

Each request that comes is a line of JSON in LOG. What is answered hangs on the model's name: `real-slow` waits before
each event of a stream, `real-bare` says nothing of usage, `real-late` begins after 4 s,
`real-stuck` falls silent for as long after the first event, `real-401` quotes the credential.
"""

import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CERTIFICATE, KEY, LOG, READY = sys.argv[1:5]
LOCK = threading.Lock()


def log(entry):
    with LOCK, open(LOG, "a") as file:
        file.write(json.dumps(entry) + "\n")


def chat(asked, content):
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}}


def chat_events(asked, words):
    told = asked.get("stream_options", {}).get("include_usage", False)
    frame = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
    for word in words:
        yield None, frame | {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
    yield None, frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if told and asked["model"] != "real-bare":
        yield None, frame | {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}}
    yield None, "[DONE]"


def completion(asked):
    return {"id": "t1", "object": "text_completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "text": "done", "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}}


def embedding(asked):
    return {"object": "list", "model": asked["model"],
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4}}


def response(asked, status="completed", usage=True):
    made = {"id": "r1", "object": "response", "created_at": 1, "model": asked["model"], "status": status,
            "parallel_tool_calls": False, "tool_choice": "auto", "tools": [], "output": [
                {"type": "message", "id": "m1", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": "answer", "annotations": []}]}]}
    if usage:
        made["usage"] = {"input_tokens": 21, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 9,
                         "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 30}
    return made


def response_events(asked, words):
    yield "response.created", {"type": "response.created", "sequence_number": 0,
                               "response": response(asked, "in_progress", False)}
    for number, word in enumerate(words, 1):
        yield "response.output_text.delta", {"type": "response.output_text.delta", "sequence_number": number,
                                             "item_id": "m1", "output_index": 0, "content_index": 0, "delta": word,
                                             "logprobs": []}
    yield "response.completed", {"type": "response.completed", "sequence_number": 9, "response": response(asked)}


def message(asked, content):
    return {"id": "m1", "type": "message", "role": "assistant", "model": asked["model"],
            "content": [{"type": "text", "text": content}], "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0,
                      "output_tokens": 3}}


def message_events(asked, words):
    begun = message(asked, "") | {"content": [], "stop_reason": None}
    begun["usage"] = begun["usage"] | {"output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": begun}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in words:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0,
                                      "delta": {"type": "text_delta", "text": word}}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    yield "message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                            "usage": {"output_tokens": 3}}
    yield "message_stop", {"type": "message_stop"}


WORDS = ["one ", "two ", "three"]
WHOLE = {
    "/v1/chat/completions": lambda asked: chat(asked, "one two three"),
    "/v1/completions": completion,
    "/v1/embeddings": embedding,
    "/v1/responses": response,
    "/v1/messages": lambda asked: message(asked, "one two three"),
    "/v1/messages/count_tokens": lambda _: {"input_tokens": 2095},
}
EVENTS = {
    "/v1/chat/completions": chat_events,
    "/v1/responses": response_events,
    "/v1/messages": message_events,
}


class Models(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        log({"method": self.command, "target": self.path, "body": asked,
             "headers": {name.lower(): value for name, value in self.headers.items()}})
        path = self.path.split("?")[0].removeprefix("/team")
        if asked["model"] == "real-late":
            time.sleep(4)
        if asked["model"] == "real-401":
            quoted = self.headers.get("Authorization", "") + self.headers.get("x-api-key", "")
            self.reply(401, {"error": {"message": f"wrong key: {quoted}"}})
        elif asked.get("stream"):
            self.stream(asked, EVENTS[path](asked, WORDS))
        else:
            made = WHOLE[path](asked)
            if asked["model"] == "real-bare":
                del made["usage"]
            self.reply(200, made)

    def reply(self, status, made):
        body = json.dumps(made).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "account=operator")
        self.send_header("OpenAI-Organization", "the-operators")
        self.send_header("request-id", "req_1")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, asked, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, data in events:
            if asked["model"] == "real-slow":
                time.sleep(1)
            text = data if isinstance(data, str) else json.dumps(data)
            event = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event.encode()))
            except OSError:
                return log({"left": asked["model"]})
            if asked["model"] == "real-stuck":
                time.sleep(4)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    plain = ThreadingHTTPServer(("0.0.0.0", 8081), Models)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    server = ThreadingHTTPServer(("0.0.0.0", 8443), Models)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    open(READY, "w").close()
    server.serve_forever()
