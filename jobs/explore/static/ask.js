// @ts-check
// Questions to the server this page came from, and what it says when it cannot answer.

/** @typedef {Record<string, string | number | null>} Words */

/**
 * @param {string} name @param {Words} words @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
async function answerTo(name, words, signal) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(words)) if (value !== null) query.set(key, `${value}`);
  return answered(`api/${name}?${query}`, { signal: signal ?? null });
}

/** @param {string} address @param {RequestInit} request @returns {Promise<Response>} */
async function answered(address, request) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address, request);
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new Error("winnow explore does not answer: was it stopped?");
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({ error: `winnow explore answered with status ${response.status}`, hint: null }));
    throw new Error(said.hint ? `${said.error} (${said.hint})` : said.error);
  }
  return response;
}

/** @param {string} name @param {Words} [words] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function ask(name, words = {}, signal) {
  return (await answerTo(name, words, signal)).json();
}

/** @param {string} name @param {Words} words @param {AbortSignal} [signal] */
export async function askBytes(name, words, signal) {
  return (await answerTo(name, words, signal)).arrayBuffer();
}

/** Have something saved. @param {string} name @param {Words} words @returns {Promise<any>} */
export async function tell(name, words) {
  const said = Object.entries(words).filter(([, value]) => value !== null).map(([key, value]) => [key, `${value}`]);
  const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(Object.fromEntries(said)) };
  return (await answered(`api/${name}`, request)).json();
}

/** Questions of which only the latest counts, asked when the hand has rested. */
export class Latest {
  /** @param {number} milliseconds */
  constructor(milliseconds) {
    this.rest = milliseconds;
    this.timer = 0;
    this.control = new AbortController();
  }

  /**
   * @param {(signal: AbortSignal) => Promise<void>} question
   * @param {(error: Error) => void} failed
   */
  later(question, failed) {
    clearTimeout(this.timer);
    this.control.abort();
    const control = new AbortController();
    this.control = control;
    this.timer = window.setTimeout(() => {
      question(control.signal).catch((error) => {
        if (!control.signal.aborted) failed(error);
      });
    }, this.rest);
  }
}
