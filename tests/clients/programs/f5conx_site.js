// Builds or removes one site with f5-conx-core, whose one way to objects is `https`. Run by node.
//
// The task is JSON on standard input; `verb` is build, look-around or remove.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { F5Client } = require("f5-conx-core");

const SETTINGS = "/mgmt/tm/sys/global-settings";
const BASH = "/mgmt/tm/util/bash";

function pathOf(each) {
  return `${each.collection}/~Common~${each.name}`;
}

async function exists(device, where) {
  try {
    return (await device.https(where)).status === 200;
  } catch (error) {
    if (error.response && error.response.status === 404) return false;
    throw error;
  }
}

async function build(device, task) {
  await device.https(SETTINGS, { method: "PATCH", data: { hostname: task.hostname } });
  for (const each of task.objects) {
    if (await exists(device, pathOf(each))) {
      const { name, partition, ...body } = each.body;
      const changed = await device.https(pathOf(each), { method: "PATCH", data: body });
      assert.strictEqual(changed.data.fullPath, `/Common/${each.name}`);
    } else {
      const made = await device.https(each.collection, { method: "POST", data: each.body });
      assert.strictEqual(made.data.fullPath, `/Common/${each.name}`);
    }
  }
}

async function lookAround(device, task) {
  assert.strictEqual(device.host.hostname, task.hostname);
  const told = await device.https(BASH, {
    method: "POST",
    data: { command: "run", utilCmdArgs: '-c "tmsh -c \\"list net ipsec ipsec-policy policy-out\\""' },
  });
  assert.match(told.data.commandResult, /tunnel-local-address/);
  const script = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "conx-")), "more.conf");
  fs.writeFileSync(script, "net ipsec ipsec-policy /Common/by-conx {\n    mode transport\n}\n");
  const sent = await device.upload(script, "FILE");
  assert.strictEqual(sent.data.bytes, fs.statSync(script).size);
  const load = `tmsh -c "load sys config merge file ${sent.data.localFilePath}"`;
  await device.https(BASH, { method: "POST", data: { command: "run", utilCmdArgs: `-c '${load}'` } });
  fs.rmSync(path.dirname(script), { recursive: true });
  const place = "/mgmt/tm/net/ipsec/ipsec-policy/~Common~by-conx";
  assert.strictEqual((await device.https(place)).data.mode, "transport");
  await device.https(place, { method: "DELETE" });
}

async function remove(device, task) {
  for (const each of [...task.objects].reverse()) {
    assert.strictEqual((await device.https(pathOf(each), { method: "DELETE" })).status, 200);
    assert.strictEqual(await exists(device, pathOf(each)), false);
  }
  await device.https(SETTINGS, { method: "PATCH", data: { hostname: task.hostname_before } });
}

async function main() {
  const task = JSON.parse(fs.readFileSync(0, "utf8"));
  const device = new F5Client(task.host, task.user, task.password, { port: task.port });
  const found = await device.discover("BIG-IP");
  assert.strictEqual(found.product, "BIG-IP");
  assert.match(found.version, /^\d+\.\d+\.\d+$/);
  // The declarative services are programs of the vendor's own, which run on the vendor's systems alone.
  assert.strictEqual(found.atc, undefined);
  await { build, "look-around": lookAround, remove }[task.verb](device, task);
  await device.clearLogin();
}

main().catch((error) => {
  console.error(error.response ? [error.message, error.response.data] : error);
  process.exitCode = 1;
});
