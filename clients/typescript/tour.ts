// README's tour, made by a client whose types are generated from docs/openapi.json: what does not fit does not compile.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./convolog.js";

type Problem = components["schemas"]["Problem"];

const baseUrl = process.argv[2];
assert(baseUrl, "usage: node tour.js <URL>");

const anonymous = createClient<paths>({ baseUrl });
const email = `ada-${crypto.randomUUID()}@example.com`;
const password = "correct horse battery";

/** The value of an answer that must be there, of this status. */
function expect<T>(answer: { data?: T; error?: unknown; response: Response }, status: number): T {
  assert.equal(answer.response.status, status, JSON.stringify(answer.error));
  assert(answer.data !== undefined);
  return answer.data;
}

/** The problem of an answer that must be an error, of this status and code. */
function refused<P extends Problem>(answer: { error?: P; response: Response }, status: number, code: P["code"]): P {
  assert.equal(answer.response.status, status);
  assert(answer.error !== undefined);
  assert.equal(answer.error.code, code);
  assert.equal(answer.error.request_id, answer.response.headers.get("x-request-id"));
  return answer.error;
}

// Register, and log in.
const registered = expect(
  await anonymous.POST("/v1/auth/register", { body: { tenant_name: "Acme", name: "Ada", email, password } }),
  201,
);
assert.equal(registered.user.role, "owner");
const signedIn = expect(await anonymous.POST("/v1/auth/login", { body: { email, password } }), 200);
assert.equal(signedIn.token_type, "Bearer");
assert.deepEqual([signedIn.tenant, signedIn.user], [registered.tenant, registered.user]);
assert(signedIn.refresh_token, "only browsers that ask for a cookie get none");
const wrong = await anonymous.POST("/v1/auth/login", { body: { email, password: "guessed" } });
refused(wrong, 401, "invalid_credentials");
refused(await anonymous.GET("/v1/sessions"), 401, "unauthorized");

// Stay signed in: each refresh token is good once.
const refreshed = expect(
  await anonymous.POST("/v1/auth/refresh", { body: { refresh_token: signedIn.refresh_token } }),
  200,
);
assert.notEqual(refreshed.refresh_token, signedIn.refresh_token);
assert.deepEqual(refreshed.user, registered.user);

const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${refreshed.access_token}` } });
assert.deepEqual(expect(await client.GET("/v1/auth/me"), 200).user, registered.user);

// Start a session.
const started = await client.POST("/v1/sessions", { body: { mode: "text", metadata: { channel: "web" } } });
const session = expect(started, 201);
assert.deepEqual([session.seq, session.version], [5, 1]);
assert.equal(started.response.headers.get("location"), `/v1/sessions/${session.id}`);
const path = { id: session.id };

// Post a message, with a key that makes it safe to repeat.
const say = (content: string) =>
  client.POST("/v1/sessions/{id}/messages", {
    params: { path, header: { "Idempotency-Key": "message-1" } },
    body: { role: "user", content },
  });
const posted = expect(await say("Do you ship to Portugal?"), 201);
assert.equal(posted.seq, 6);

// Read what was written.
const read = await client.GET("/v1/sessions/{id}", { params: { path, query: { min_seq: posted.seq } } });
const row = expect(read, 200);
assert.deepEqual([row.status, row.message_count, row.version], ["open", 1, 1]);
const [seen, etag] = ["convolog-seq", "etag"].map((name) => read.response.headers.get(name));
assert(Number(seen) >= posted.seq && etag);
const messages = expect(await client.GET("/v1/sessions/{id}/messages", { params: { path } }), 200);
assert.deepEqual(messages.data.map((message) => message.content), ["Do you ship to Portugal?"]);
assert.equal(messages.next_cursor, null);
refused(await client.GET("/v1/sessions/{id}", { params: { path, query: { min_seq: 999 } } }), 422, "seq_not_in_log");

// Retry: the first answer again. Another body under the same key is refused.
const again = await say("Do you ship to Portugal?");
assert.deepEqual(expect(again, 201), posted);
assert.equal(again.response.headers.get("idempotency-replayed"), "true");
refused(await say("Do you ship to Spain?"), 422, "idempotency_key_reused");

// End it, provided that it has not changed since.
const end = (condition?: string) =>
  client.POST("/v1/sessions/{id}/end", { params: { path, header: condition ? { "If-Match": condition } : {} } });
refused(await end('"7"'), 412, "version_mismatch");
assert.equal(expect(await end(etag), 200).seq, 7);
assert.equal(refused(await end(etag), 412, "version_mismatch").current_version, 3);
refused(await end(), 409, "session_ended");

// Record what it has cost, and read it with the session.
const cost = expect(
  await client.POST("/v1/costs", {
    body: {
      service: "llm",
      provider: "openai",
      amount: "0.000123",
      session_id: session.id,
      usage: [{ type: "input_uncached", quantity: 420 }, { type: "output_text", quantity: "96" }],
    },
  }),
  201,
);
assert.equal(cost.seq, 8);
const paid = await client.GET("/v1/sessions/{id}", { params: { path, query: { min_seq: cost.seq } } });
const usd = { currency: "USD", amount: "0.000123", recorded: 1, voided: 0, unpriced: 0 };
assert.deepEqual(expect(paid, 200).cost, [usd]);
const line = expect(await client.GET("/v1/costs/{id}", { params: { path: { id: cost.id } } }), 200);
assert.deepEqual([line.amount, line.usage[1]], ["0.000123", { type: "output_text", quantity: "96", unit: "tokens" }]);

// Read the log.
const events = expect(await client.GET("/v1/events", { params: { query: { after: 5, limit: 1 } } }), 200);
assert.deepEqual([events.next_after, events.head], [6, 8]);
const [event] = events.data;
assert.equal(event?.type, "convolog.session.message_posted.v1");
assert.equal(event?.sequence, "00000000000000000006");
assert.equal(event?.data["content"], "Do you ship to Portugal?");

console.log("the tour was made");
