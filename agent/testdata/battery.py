"""A SunSpec battery on a Modbus stack that is not ours (pymodbus).

Usage: battery.py PORT [METER_PORT LAG_SECONDS]. Serves models 1, 103, 120, 121,
122, 124 from 40000 on, and prints one JSON line per write request and per
change of power. With METER_PORT the battery has a lag, and a meter (model 203,
import positive) shows it together with a living house, which draws 2.5 kW more
from 30 s after the first setpoint on; it is printed five times a second.
The register map is written down here a second time, on purpose.
"""

import asyncio
import json
import math
import random
import struct
import sys
import time

from pymodbus.datastore import (
    ModbusSequentialDataBlock,
    ModbusServerContext,
    ModbusSlaveContext,
)
from pymodbus.server import StartAsyncTcpServer

BASE = 40000
NONE_U16, NONE_I16 = 0xFFFF, 0x8000
RATED = 8000  # W; the storage's own maximum is the same


def text(value, words):
    raw = value.encode().ljust(2 * words, b"\0")
    return list(struct.unpack(f">{words}H", raw))


def signed(word):
    return word - 0x10000 if word & 0x8000 else word


def sf(value):
    return value & 0xFFFF


class Model:
    """A model's words after id and length, at offsets counted from the id."""

    def __init__(self, number, length, fill=NONE_U16):
        self.words = [number, length] + [fill] * length

    def put(self, offset, *values):
        for i, value in enumerate(values):
            self.words[offset + i] = value & 0xFFFF
        return self


def image():
    common = Model(1, 66, 0).put(2, *text("Pylon Works", 16)).put(18, *text("PW-8", 16))
    common.put(42, *text("1.2", 8)).put(50, *text("PY-0001", 16)).put(66, 1, NONE_I16)

    inverter = Model(103, 50)
    for offset in (6, 13, 17, 19, 21, 23, 26, 28, 30, 37):
        inverter.put(offset, NONE_I16)
    inverter.put(14, 0, sf(1))  # W in tens
    inverter.put(16, 5000, sf(-2)).put(24, 0, 0).put(31, NONE_I16, NONE_I16)
    inverter.put(33, *[NONE_I16] * 5).put(38, 4).put(40, *[0] * 12)

    plate = Model(120, 26)
    for offset in (6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 22, 27):
        plate.put(offset, NONE_I16)
    plate.put(2, 82, RATED // 10, sf(1)).put(19, 16000, sf(0))
    plate.put(23, RATED // 10, sf(1), RATED // 10, sf(1))

    settings = Model(121, 30)
    settings.put(2, RATED // 10).put(4, NONE_I16).put(8, *[NONE_I16] * 4).put(13, *[NONE_I16] * 4)
    settings.put(22, sf(1), *[NONE_I16] * 9)

    status = Model(122, 44, 0)
    status.put(2, 0, 7, 1).put(29, NONE_I16, NONE_I16, NONE_U16, NONE_I16).put(43, 0, NONE_U16, NONE_I16)

    storage = Model(124, 24)
    storage.put(2, RATED // 10, 100, 100, 0, NONE_U16, 10, 6000, NONE_U16, NONE_U16, 6)
    storage.put(12, 1000, 1000, 0, 0, 0, 1)  # rates in tenths, grid charging allowed
    storage.put(18, sf(1), sf(0), NONE_I16, sf(0), sf(-2), NONE_I16, NONE_I16, sf(-1))

    words = [0x5375, 0x6E53]
    at = {}
    for model in (common, inverter, plate, settings, status, storage):
        at[model.words[0]] = BASE + len(words)
        words += model.words
    return words + [0xFFFF, 0], at


def meter_image():
    common = Model(1, 66, 0).put(2, *text("Pylon Works", 16)).put(18, *text("PW-M", 16))
    common.put(42, *text("1.0", 8)).put(50, *text("PY-M001", 16)).put(66, 1, NONE_I16)
    meter = Model(203, 105, NONE_I16)
    meter.put(2, 0, 0, 0, 0, sf(-1)).put(7, 2300).put(15, sf(-1)).put(16, 5000, sf(-2))
    meter.put(18, 0).put(22, sf(0)).put(38, *[0] * 16).put(54, sf(0)).put(105, 0, 0)
    words = [0x5375, 0x6E53] + common.words
    at = {203: BASE + len(words)}
    return words + meter.words + [0xFFFF, 0], at


def say(**what):
    print(json.dumps(dict(what, at=time.time())), flush=True)


class Registers(ModbusSequentialDataBlock):
    armed = None
    gives = 0.0

    def __init__(self, words, at):
        super().__init__(BASE, words)
        self.at = at

    def setValues(self, address, values):
        values = values if isinstance(values, list) else [values]
        super().setValues(address, values)
        say(write=address, words=values)
        if 124 not in self.at:
            return
        first = self.at[124]
        if address + len(values) > first + 5 and address <= first + 17:
            seconds = self.word(124, 15)
            on = self.word(124, 5) != 0 and seconds not in (0, NONE_U16)
            self.armed = time.time() + seconds if on else None

    def word(self, model, offset):
        return self.values[self.at[model] + offset - BASE]

    def put(self, model, offset, value):
        self.values[self.at[model] + offset - BASE] = value & 0xFFFF

    def step(self, lag=0.0, dt=0.0):
        if self.armed and time.time() > self.armed:
            self.put(124, 5, 0)
            self.armed = None
            say(reverted=True)
        power, mode = 0.0, self.word(124, 5)
        highest = signed(self.word(124, 12)) / 1000 * RATED if mode & 2 else RATED
        lowest = -signed(self.word(124, 13)) / 1000 * RATED if mode & 1 else -RATED
        if lowest <= highest:
            power = max(lowest, min(highest, 0.0))
        if lag:
            self.gives += (power - self.gives) * min(1.0, dt / lag)
            power = self.gives
        self.put(103, 14, round(power / 10))
        self.put(124, 11, 3 if power > 0 else 4 if power < 0 else 6)
        return power


async def physics(registers):
    last = None
    while True:
        power = registers.step()
        if power != last:
            say(power=power)
            last = power
        await asyncio.sleep(0.01)


async def yard(registers, meter, lag):
    """The battery behind a meter, beside a house."""
    began, last, shown, noise = None, time.time(), 0.0, random.Random(1)
    while True:
        now = time.time()
        power = registers.step(lag, now - last)
        last = now
        if began is None and power != 0:
            began = now
        house = 1500 + 150 * math.sin(now / 7) + noise.gauss(0, 20)
        if began is not None and now - began > 30:
            house += 2500
        grid = house - power
        meter.put(203, 18, round(grid))
        if now - shown >= 0.2:
            shown = now
            say(grid=-grid, house=house)
        await asyncio.sleep(0.05)


async def serve(registers, port):
    slave = ModbusSlaveContext(hr=registers, zero_mode=True)
    await StartAsyncTcpServer(
        context=ModbusServerContext(slaves=slave, single=True),
        address=("127.0.0.1", port),
    )


async def main():
    registers = Registers(*image())
    if len(sys.argv) < 4:
        asyncio.get_running_loop().create_task(physics(registers))
    else:
        meter = Registers(*meter_image())
        asyncio.get_running_loop().create_task(yard(registers, meter, float(sys.argv[3])))
        asyncio.get_running_loop().create_task(serve(meter, int(sys.argv[2])))
    await serve(registers, int(sys.argv[1]))


asyncio.run(main())
