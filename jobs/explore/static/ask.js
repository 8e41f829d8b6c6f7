// @ts-check
// Questions to the server this page came from, and what it says when it cannot answer.

/** @typedef {Record<string, string | number | null>} Words */

/** The server does not take what was asked for. */
export class Refused extends Error {}

/** As texts; what is null is left out. @param {Words} words */
const said = (words) =>
  Object.entries(words).flatMap(([key, value]) => (value === null ? [] : [[key, `${value}`]]));

/** Where a question is answered. @param {string} name @param {Words} words */
export const addressOf = (name, words) => `api/${name}?${new URLSearchParams(said(words))}`;

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
    const why = await response.json().catch(() => ({ error: `winnow explore answered with status ${response.status}`, hint: null }));
    const words = why.hint ? `${why.error} (${why.hint})` : why.error;
    throw new (response.status === 422 ? Refused : Error)(words);
  }
  return response;
}

/** @param {string} name @param {Words} [words] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function ask(name, words = {}, signal) {
  return (await answered(addressOf(name, words), { signal: signal ?? null })).json();
}

/** @param {string} name @param {Words} words @param {AbortSignal} [signal] */
export async function askBytes(name, words, signal) {
  return (await answered(addressOf(name, words), { signal: signal ?? null })).arrayBuffer();
}

/** Have something saved. @param {string} name @param {Words} words @returns {Promise<any>} */
export async function tell(name, words) {
  const body = JSON.stringify(Object.fromEntries(said(words)));
  const request = { method: "POST", headers: { "content-type": "application/json" }, body };
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

  /** Whatever was asked no longer counts. */
  drop() {
    clearTimeout(this.timer);
    this.control.abort();
  }

  /**
   * @param {(signal: AbortSignal) => Promise<void>} question
   * @param {(error: Error) => void} failed
   */
  later(question, failed) {
    this.drop();
    const control = new AbortController();
    this.control = control;
    this.timer = window.setTimeout(() => {
      question(control.signal).catch((error) => {
        if (!control.signal.aborted) failed(error);
      });
    }, this.rest);
  }
}
