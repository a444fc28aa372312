/** How every page speaks with the control plane, and how a browser gets its session. */

/** The JSON of an answer; an error answer is thrown with its status, code and field (RFC 9457). */
export async function api(path, options) {
  const response = await fetch(path, { credentials: 'same-origin', ...options });
  if (response.ok) return response.status === 204 ? null : await response.json();
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  throw Object.assign(new Error(problem.detail), { status: response.status, code: problem.code, field: problem.field });
}

/** The options of a request that carries JSON. */
export function json(method, body) {
  return { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** The secret of a one-time link stands in the fragment, which browsers send nowhere; it leaves the address bar before it is used. */
export async function openSession() {
  const secret = new URLSearchParams(location.hash.slice(1)).get('link');
  if (secret === null) return;
  history.replaceState(null, '', location.pathname + location.search);
  try {
    await api('/api/session', json('POST', { secret }));
  } catch (error) {
    // A link that was used in this browser has left its session behind.
    if (error.status !== 401 || !(await api('/api/session').catch(() => null)))
      throw Object.assign(new Error(error.message), { status: error.status, usedLink: true });
  }
}

/** Why this browser is not let in, and the way in. */
export function signInText({ usedLink } = {}) {
  const why = usedLink ? 'This link was used before, or has expired.' : 'This browser has no session.';
  return `${why} Open the link that the server printed when it started, or make a new one with: castellan token --link`;
}
