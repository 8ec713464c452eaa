"""A register image on a Modbus stack that is not ours (pymodbus).

Usage: foreign.py PORT. Commands come as one JSON object a line on stdin, each
answered by one line: {"load": {"base", "words", "writable"}} replaces the
image, {"dump": true} gives it back. A write that touches a register that is
not writable, and a read beyond the image, are refused with exception 2.
"""

import asyncio
import json
import sys

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncTcpServer


class Image(ModbusSlaveContext):
    base = 0
    words = []
    writable = frozenset()

    def load(self, base, words, writable):
        self.base, self.words, self.writable = base, words, frozenset(writable)

    def validate(self, fc_as_hex, address, count=1):
        if fc_as_hex not in (3, 6, 16):
            return False
        if fc_as_hex in (6, 16):
            return all(a in self.writable for a in range(address, address + count))
        return self.base <= address and address + count <= self.base + len(self.words)

    def getValues(self, fc_as_hex, address, count=1):
        return self.words[address - self.base : address - self.base + count]

    def setValues(self, fc_as_hex, address, values):
        at = address - self.base
        self.words[at : at + len(values)] = values


async def commands(image):
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        if "load" in command:
            image.load(**command["load"])
        print(json.dumps({"base": image.base, "words": image.words}), flush=True)
    sys.exit(0)


async def main():
    image = Image()
    task = asyncio.get_running_loop().create_task(commands(image))
    await StartAsyncTcpServer(
        context=ModbusServerContext(slaves=image, single=True),
        address=("127.0.0.1", int(sys.argv[1])),
    )
    await task


asyncio.run(main())
