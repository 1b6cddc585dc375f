// A platform that sells credit: signs with the standardwebhooks package, sends with fetch.
//
// One JSON object a line on standard input, one answer a line on standard output, in the same order:
//
//   {"url", "secrets": ["whsec_…"], "privateKey"?: "whsk_…", "deliveries": [{
//       "id", "payload",                  the message
//       "body"?,                          what is sent instead of what was signed
//       "offset_s"?,                      how far from now it says it was sent
//   }], "until_accepted"?: bool}          send all at once; again and again until each is accepted
//
//   [{"status", "problem", "attempts"}]   0 for a connection that broke
import { createPrivateKey, sign as signWithKey } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";

// A connection that broke at the wrong instant is not always noticed: every sender has a time limit.
const PATIENCE_MS = 3000;

async function attempt(url, secrets, privateKey, { id, payload, body, offset_s = 0 }) {
  const sent = new Date(Date.now() + offset_s * 1000);
  const timestamp = Math.floor(sent.getTime() / 1000).toString();
  const signatures = secrets.map((secret) => new Webhook(secret).sign(id, sent, payload));
  if (privateKey) {
    const signature = signWithKey(null, Buffer.from(`${id}.${timestamp}.${payload}`), ed25519(privateKey));
    signatures.push(`v1a,${signature.toString("base64")}`);
  }
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures.join(" "),
  };
  try {
    const response = await fetch(url, {
      method: "POST",
      headers,
      body: body ?? payload,
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await response.text();
    return { status: response.status, problem: text ? JSON.parse(text).code : null };
  } catch {
    return { status: 0, problem: null };
  }
}

// The package signs with shared secrets only.
function ed25519(whsk) {
  const seed = Buffer.from(whsk.slice("whsk_".length), "base64");
  const key = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

async function deliver({ url, secrets, privateKey, until_accepted: patient }, delivery) {
  for (let attempts = 1; ; attempts++) {
    const answer = await attempt(url, secrets, privateKey, delivery);
    if (!patient || (answer.status >= 200 && answer.status < 300)) return { ...answer, attempts };
    await sleep(20);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  const answers = await Promise.all(command.deliveries.map((delivery) => deliver(command, delivery)));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
