"""One consumer for the list of files, and one for each direction. Every transfer has a connection of its own:
it may fill it as it likes, and the list stays quick."""

import asyncio
import json
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from .store import Upload, about, files, path_of

GROUP = "files"

# Bytes of one message. Large enough that messages do not matter, small enough that progress is seen.
CHUNK = 256 * 1024

# Close codes of this example's own.
NO_SUCH_FILE = 4404
WRONG = 4400
# Try again later, from the registry of codes.
BUSY = 1013


class FilesConsumer(AsyncWebsocketConsumer):
    """The list of all files, and each that is added to it."""

    groups = [GROUP]

    async def connect(self):
        await self.accept()
        await self.send(text_data=json.dumps({"files": await asyncio.to_thread(files)}))

    async def file_added(self, event):
        await self.send(text_data=json.dumps({"added": event["file"]}))


class UploadConsumer(AsyncWebsocketConsumer):
    """A file from the client. It says what is coming, hears where to begin, and sends bytes from there.

    A client that was cut off connects again under the same name, and goes on.
    """

    # The names that are being written to.
    names = set()

    upload = None

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None and self.upload is None:
            await self.begin(text_data)
        elif bytes_data is not None and self.upload is not None:
            await self.go_on(bytes_data)
        else:
            await self.close(code=WRONG, reason="a description first, and bytes then")

    async def begin(self, text_data):
        name = self.scope["url_route"]["kwargs"]["name"]
        if (done := await asyncio.to_thread(about, name)) is not None:
            # The connection was lost after the last byte: the client does not know that it is done.
            await self.send(text_data=json.dumps({"done": done}))
            return await self.close()
        try:
            description = json.loads(text_data)
            title, size = str(description["title"])[:255], int(description["size"])
        except (ValueError, KeyError, TypeError):
            return await self.close(code=WRONG, reason="title and size are needed")
        if not 0 <= size <= settings.MAX_FILE_SIZE:
            return await self.close(code=WRONG, reason=f"at most {settings.MAX_FILE_SIZE} bytes")
        if name in self.names:
            # The connection that the client has lost is still there, as far as is known here.
            return await self.close(code=BUSY, reason="this upload has a connection")
        self.names.add(name)
        self.upload = await asyncio.to_thread(Upload, name, title, size)
        await self.send(text_data=json.dumps({"received": self.upload.received}))
        await self.finish_if_complete()

    async def go_on(self, data):
        if self.upload.received + len(data) > self.upload.size:
            return await self.close(code=WRONG, reason="more bytes than announced")
        # While this waits, no further message is received: a disk that is slow slows the client down.
        await asyncio.to_thread(self.upload.write, data)
        # How far the file is here, not how much the client has handed to its network.
        await self.send(text_data=json.dumps({"received": self.upload.received}))
        await self.finish_if_complete()

    async def finish_if_complete(self):
        if self.upload.received < self.upload.size:
            return
        file = await asyncio.to_thread(self.upload.finish)
        await self.channel_layer.group_send(GROUP, {"type": "file.added", "file": file})
        await self.send(text_data=json.dumps({"done": file}))
        await self.close()

    async def disconnect(self, code):
        if self.upload is not None:
            await asyncio.to_thread(self.upload.close)
            self.names.discard(self.upload.name)


class DownloadConsumer(AsyncWebsocketConsumer):
    """A file to the client, from the byte `offset` on."""

    async def connect(self):
        await self.accept()
        file = await asyncio.to_thread(about, self.scope["url_route"]["kwargs"]["name"])
        offset = parse_qs(self.scope["query_string"].decode()).get("offset", ["0"])[0]
        if file is None:
            return await self.close(code=NO_SUCH_FILE, reason="no such file")
        if not offset.isdecimal() or int(offset) > file["size"]:
            return await self.close(code=WRONG, reason="no such offset")
        await self.send(text_data=json.dumps({"file": file}))
        with path_of(file["name"], ".data").open("rb") as data:
            data.seek(int(offset))
            while chunk := await asyncio.to_thread(data.read, CHUNK):
                # Waits while the client takes less than it is given: no more than a few chunks of the file
                # are ever in memory. Fails when the client has gone.
                try:
                    await self.send(bytes_data=chunk)
                except OSError:
                    return
        await self.close()
