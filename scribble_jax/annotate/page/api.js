/** The requests of the page to its server. */

/** The server refused a request. */
export class Refused extends Error {}

/** The server did not answer. */
export class Unreachable extends Error {}

/** The server could not write, as on a full disk. */
export class Unwritten extends Unreachable {}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {credentials: 'same-origin', ...options});
  } catch (error) {
    throw new Unreachable(error.message);
  }
  if (response.ok) return response;
  let text = `The server answered ${response.status}.`;
  try {
    const content = await response.text();
    text = response.headers.get('content-type')?.includes('json') ?
        JSON.parse(content).error : content;
  } catch { /* The text above is enough. */ }
  if (response.status === 507) throw new Unwritten(text);
  if (response.status >= 500) throw new Unreachable(text);
  throw new Refused(text);
}

async function send(method, path, content) {
  const answer = await (await ask(path, {
    method, body: JSON.stringify(content),
    headers: {'Content-Type': 'application/json'}})).json();
  if (answer.error) throw new Refused(answer.error);
  return answer;
}

const get = async (path) => (await ask(path)).json();
const withId = (path, id) => `${path}?id=${encodeURIComponent(id)}`;

export const project = () => get('/api/project');
export const picture = (id) => get(withId('/api/picture', id));
export const next = () => get('/api/next');
export const job = () => get('/api/job');
export const changeJob = (change) => send('POST', '/api/job', change);
export const changeClasses = (change) => send('POST', '/api/classes', change);
export const save = (id, content) =>
  send('PUT', withId('/api/strokes', id), content);
export const photograph = async (id) =>
  (await ask(withId('/photograph', id))).blob();
export const imported = async (id) =>
  (await ask(withId('/imported', id))).blob();
export const thumbnail = (id) => withId('/thumbnail', id);

/**
 * Returns the mask of a picture: {labels, probability, certainty} as bytes,
 * with width, height, version and isPrediction; or {reason, worker}.
 */
export async function mask(id) {
  const response = await ask(withId('/api/mask', id), {method: 'POST'});
  if (response.headers.get('content-type').includes('json')) {
    return response.json();
  }
  const number = (name) => Number(response.headers.get(name));
  const width = number('X-Width'), height = number('X-Height');
  const content = new Uint8Array(await response.arrayBuffer());
  const plane = (index) =>
    content.subarray(index * width * height, (index + 1) * width * height);
  return {
    width, height, version: number('X-Version'),
    isPrediction: number('X-Prediction') === 1,
    labels: plane(0), probability: plane(1), certainty: plane(2)};
}
