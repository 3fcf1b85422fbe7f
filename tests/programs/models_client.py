"""What a sandboxed program asks of its models, by the libraries of OpenAI and Anthropic.

models_client.py PART
"""

import sys
import time

import anthropic
import httpx2
import openai

NAME = "inference.local"
MINE = "sk-the-callers-own"


def by_openai(**more):
    return openai.OpenAI(base_url=f"https://{NAME}/v1", api_key=MINE, organization="mine", max_retries=0, timeout=20, **more)


def by_anthropic(**more):
    return anthropic.Anthropic(base_url=f"https://{NAME}", api_key=MINE, max_retries=0, timeout=20, **more)


ASK = [{"role": "user", "content": "the prompt that nobody writes down"}]


def say(model="small", **more):
    return by_openai().chat.completions.create(model=model, messages=ASK, **more)


def tell(model="claude", **more):
    return by_anthropic().messages.create(model=model, max_tokens=100, messages=ASK, **more)


def whole():
    said = say()
    print(said.choices[0].message.content, said.usage.prompt_tokens)
    client = by_openai()
    print(client.completions.create(model="small", prompt="x").choices[0].text)
    print(client.embeddings.create(model="small", input="x", encoding_format="float").data[0].embedding)
    print(client.responses.create(model="small", input="x").output_text)
    told = tell()
    print(told.content[0].text, told.usage.output_tokens)
    print(by_anthropic().messages.count_tokens(model="claude", messages=ASK).input_tokens)
    print([model.id for model in client.models.list()], client.models.retrieve("slow").id)
    print([model.id for model in by_anthropic().models.list()])


def streamed():
    # As written by many: each chunk has a choice.
    print("".join(chunk.choices[0].delta.content or "" for chunk in say(stream=True)))
    asked = list(say(stream=True, stream_options={"include_usage": True}))
    print(len(asked), asked[-1].choices, asked[-1].usage.total_tokens)
    with by_openai().responses.stream(model="small", input="x") as stream:
        print("".join(event.delta for event in stream if event.type == "response.output_text.delta"))
    with by_anthropic().messages.stream(model="claude", max_tokens=9, messages=ASK) as stream:
        print("".join(stream.text_stream), stream.get_final_message().usage.output_tokens)


def slow():
    begun = time.monotonic()
    times = [time.monotonic() - begun for _ in say("slow", stream=True)]
    print(times[0] < 2.5, times[-1] > 3)


def leave():
    stream = say("slow", stream=True)
    next(iter(stream))
    stream.close()


def names():
    for ask, model in ((say, "unknown"), (tell, "unknown"), (say, "claude")):
        try:
            ask(model)
        except (openai.NotFoundError, anthropic.NotFoundError) as error:
            print(type(error).__module__, type(error).__name__, "GET /v1/models" in str(error))


def limit():
    for ask in (say, say, say, tell):
        try:
            ask()
            print("answered")
        except (openai.RateLimitError, anthropic.RateLimitError) as error:
            wait = int(error.response.headers["retry-after"])
            print(type(error).__module__, error.status_code, 30 < wait <= 62, str(error).count("requests_per_minute"))


def tokens():
    for ask in (say, say, tell):
        try:
            ask()
            print("answered")
        except (openai.RateLimitError, anthropic.RateLimitError) as error:
            print(error.response.headers.get("x-should-retry"), str(error).count("tokens_per_day"))


def long():
    for client in (by_openai(), by_anthropic()):
        try:
            client.post("/chat/completions" if NAME in str(client.base_url) and "v1" in str(client.base_url) else "/v1/messages",
                        body={"model": "x", "messages": "y" * (33 << 20)}, cast_to=httpx2.Response)
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            print(type(error).__module__, error.status_code, (error.body.get("error") or error.body)["type"]
                  if "error" in error.body else error.body["type"])


def down():
    for ask in (say, tell):
        try:
            ask()
        except (openai.InternalServerError, anthropic.InternalServerError) as error:
            print(type(error).__module__, error.status_code, "did not answer" in str(error))


def refused():
    for ask, model in ((say, "wrong"), (tell, "claude-wrong")):
        try:
            ask(model)
        except (openai.InternalServerError, anthropic.InternalServerError) as error:
            print(type(error).__module__, error.status_code, error.response.headers["x-should-retry"], str(error))


def paths():
    # What either library can ask for, and no model is asked.
    for call in (lambda: by_openai().files.list(), lambda: by_openai().moderations.create(input="x"),
                 lambda: by_anthropic().messages.batches.list()):
        try:
            call()
        except (openai.NotFoundError, anthropic.NotFoundError) as error:
            print(type(error).__module__, error.status_code)


globals()[sys.argv[1]]()
