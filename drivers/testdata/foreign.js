"use strict";
// A register image on a Modbus stack that is not ours (npm modbus-serial).
//
// Usage: node foreign.js PORT. Commands come as one JSON object a line on
// stdin, each answered by one line: {"load": {"base", "words", "writable"}}
// replaces the image, {"dump": true} gives it back. A write that touches a
// register that is not writable, and a read beyond the image, are refused with
// exception 2.

const readline = require("readline");
const { ServerTCP } = require("modbus-serial");

let base = 0;
let words = [];
let writable = new Set();

const illegalAddress = { modbusErrorCode: 2 };

function read(address, count) {
  if (address < base || address + count > base + words.length) {
    throw illegalAddress;
  }
  return words.slice(address - base, address - base + count);
}

function write(address, values) {
  for (let i = 0; i < values.length; i++) {
    if (!writable.has(address + i)) {
      throw illegalAddress;
    }
  }
  values.forEach((value, i) => {
    words[address - base + i] = value;
  });
}

// The callbacks are how the stack passes an exception on.
function told(callback, action) {
  let result = null;
  try {
    result = action();
  } catch (error) {
    return callback(error, null);
  }
  return callback(null, result);
}

const vector = {
  getHoldingRegister: (address, unit, callback) => told(callback, () => read(address, 1)[0]),
  getMultipleHoldingRegisters: (address, count, unit, callback) => told(callback, () => read(address, count)),
  setRegister: (address, value, unit, callback) => told(callback, () => write(address, [value])),
  setRegisterArray: (address, values, unit, callback) => told(callback, () => write(address, Array.from(values))),
};

const server = new ServerTCP(vector, { host: "127.0.0.1", port: Number(process.argv[2]), unitID: 255 });
server.on("socketError", () => {}); // connections are cut on purpose

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  if (command.load) {
    ({ base, words } = command.load);
    writable = new Set(command.load.writable);
  }
  process.stdout.write(JSON.stringify({ base, words }) + "\n");
});
lines.on("close", () => process.exit(0));
