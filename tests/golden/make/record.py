#!/usr/bin/env python3
"""A TCP proxy that writes down every frame, and a picker that keeps one of each kind.

record.py run DIR LISTEN=FORWARD=LABEL...   LABEL is a word, or @FILE: the file's text when a connection comes in
record.py pick DIR LABEL OUT                one request per code and its answer (by opaque), as frames one behind the other
"""
import asyncio
import json
import os
import struct
import sys

LARGEST = 6000  # longer frames are not worth keeping


async def pump(reader, writer, direction, log):
    buffer = b""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= 4 + struct.unpack(">i", buffer[:4])[0]:
                length = 4 + struct.unpack(">i", buffer[:4])[0]
                log.write(direction + buffer[:length])
                log.flush()
                buffer = buffer[length:]
    except ConnectionError:
        pass
    finally:
        writer.close()


async def run(directory, routes):
    count = 0

    async def serve(listen, forward, label):
        async def accept(reader, writer):
            nonlocal count
            count += 1
            name = open(label[1:]).read().strip() if label.startswith("@") else label
            host, port = forward.rsplit(":", 1)
            try:
                server_reader, server_writer = await asyncio.open_connection(host, int(port))
            except ConnectionError:  # the server is not there yet, or not any more
                writer.close()
                return
            with open(os.path.join(directory, f"{name}.{count:04}"), "wb") as log:
                await asyncio.gather(pump(reader, server_writer, b">", log), pump(server_reader, writer, b"<", log))

        host, port = listen.rsplit(":", 1)
        return await asyncio.start_server(accept, host, int(port))

    servers = [await serve(*route.split("=")) for route in routes]
    print("recording", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def header(frame):
    """Code, opaque and flag of a frame."""
    kind = frame[4]
    length = struct.unpack(">i", b"\0" + frame[5:8])[0]
    data = frame[8:8 + length]
    if kind == 0:
        read = json.loads(data)
        return read["code"], read["opaque"], read["flag"]
    code, _, _, opaque, flag = struct.unpack(">hbhii", data[:13])
    return code, opaque, flag


def pick(directory, label, out):
    connections = []
    for name in sorted(os.listdir(directory)):
        if name.rsplit(".", 1)[0] != label:
            continue
        data, frames = open(os.path.join(directory, name), "rb").read(), []
        while data:
            length = 5 + struct.unpack(">i", data[1:5])[0]
            frames.append((data[:1], data[1:length]))
            data = data[length:]
        connections.append(frames)
    kept = {}
    for frames in connections:
        answers = {}
        for direction, frame in frames:
            code, opaque, flag = header(frame)
            if flag & 1:
                answers[direction, opaque] = frame
        for direction, frame in frames:
            code, opaque, flag = header(frame)
            if flag & 1 or len(frame) > LARGEST:
                continue
            back = b"<" if direction == b">" else b">"
            answer = b"" if flag & 2 else answers.get((back, opaque), b"")
            if len(answer) > LARGEST or not (answer or flag & 2):
                continue
            # The largest answer of a kind says most: the first pull is mostly one that found nothing.
            key = (direction, code)
            if key not in kept or len(answer) > len(kept[key]) - len(frame):
                kept[key] = frame + answer
    with open(out, "wb") as file:
        for key in sorted(kept):
            file.write(kept[key])
    print(label, "codes", [code for _, code in sorted(kept)])


if sys.argv[1] == "run":
    asyncio.run(run(sys.argv[2], sys.argv[3:]))
else:
    pick(*sys.argv[2:])
