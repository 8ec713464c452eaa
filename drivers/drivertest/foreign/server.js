"use strict";
// A device on a Modbus stack that is not ours (npm modbus-serial).
//
// Usage: node server.js PORT. Every request that the stack has understood is
// printed as one JSON line, {"unit", "fn", "addr", "count"} or with "values"
// for a write, and answered on stdin by {"words"} or {"code"}, an exception.

const readline = require("readline");
const { ServerTCP } = require("modbus-serial");

const waiting = []; // what to do with the answers, in the order of the requests

function ask(request, callback) {
  waiting.push((answer) => {
    if (answer.code) {
      return callback({ modbusErrorCode: answer.code }, null);
    }
    return callback(null, answer.words);
  });
  process.stdout.write(JSON.stringify(request) + "\n");
}

const one = (callback) => (error, words) => callback(error, words && words[0]);
const read = (fn) => (addr, count, unit, callback) => ask({ unit, fn, addr, count }, callback);
const readOne = (fn) => (addr, unit, callback) => ask({ unit, fn, addr, count: 1 }, one(callback));

const vector = {
  getHoldingRegister: (addr, unit, callback) => readOne(3)(addr, unit, callback),
  getInputRegister: (addr, unit, callback) => readOne(4)(addr, unit, callback),
  getMultipleHoldingRegisters: (addr, count, unit, callback) => read(3)(addr, count, unit, callback),
  getMultipleInputRegisters: (addr, count, unit, callback) => read(4)(addr, count, unit, callback),
  setRegister: (addr, value, unit, callback) => ask({ unit, fn: 6, addr, count: 1, values: [value] }, callback),
  setRegisterArray: (addr, values, unit, callback) =>
    ask({ unit, fn: 16, addr, count: values.length, values: Array.from(values) }, callback),
};

// Unit 255 stands for all.
const server = new ServerTCP(vector, { host: "127.0.0.1", port: Number(process.argv[2]), unitID: 255 });
server.on("socketError", () => {}); // connections are cut on purpose

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => waiting.shift()(JSON.parse(line)));
lines.on("close", () => process.exit(0)); // nobody answers any more
