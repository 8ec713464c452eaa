"""A device on a Modbus stack that is not ours (pymodbus).

Usage: server.py PORT. Every request that the stack has understood is printed
as one JSON line, {"unit", "fn", "addr", "count"} or with "values" for a write,
and answered on stdin by {"words"} or {"code"}, an exception.
"""

import json
import os
import queue
import sys
import threading

from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.pdu import ExceptionResponse
from pymodbus.server import StartTcpServer

answers = queue.Queue()
refused = []  # the exception to the request at hand: the stack asks one at a time


def listen():
    for line in sys.stdin:
        answers.put(json.loads(line))
    os._exit(0)  # nobody answers any more


def ask(**request):
    print(json.dumps(request), flush=True)
    answer = answers.get()
    if answer.get("code"):
        refused.append(answer["code"])
    return answer.get("words")


class Unit(ModbusSlaveContext):
    def __init__(self, unit):
        super().__init__()
        self.unit = unit
        self.written = []

    def validate(self, fc_as_hex, address, count=1):
        return fc_as_hex in (3, 4, 6, 16)

    def getValues(self, fc_as_hex, address, count=1):
        if fc_as_hex == 6:  # the echo of a single write
            return self.written
        return ask(unit=self.unit, fn=fc_as_hex, addr=address, count=count) or [0] * count

    def setValues(self, fc_as_hex, address, values):
        self.written = values
        ask(unit=self.unit, fn=fc_as_hex, addr=address, count=len(values), values=values)


def refuse(response):
    if refused:
        code, told = refused.pop(), response
        response = ExceptionResponse(told.function_code, code)
        response.transaction_id, response.unit_id = told.transaction_id, told.unit_id
    return response, False


threading.Thread(target=listen, daemon=True).start()
StartTcpServer(
    context=ModbusServerContext(slaves={unit: Unit(unit) for unit in range(256)}, single=False),
    address=("127.0.0.1", int(sys.argv[1])),
    response_manipulator=refuse,
)
