// An instance for JavaScript: speaks the protocol of the function runtime over descriptor 3.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import net from 'node:net';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import util from 'node:util';
import vm from 'node:vm';
import { begin, calls, guardAll, remain, wearOut } from './leftovers.mjs';
import { areStreamsLost, noteStreams, useOwnStreams } from './streams.mjs';

const PROGRESS_MS = 250;
const { TASKYARD_CODE, TASKYARD_HANDLER, TASKYARD_ENTRY } = process.env;
const RESULT_BYTES = Number(process.env.TASKYARD_RESULT_BYTES);
for (const name of ['CODE', 'HANDLER', 'ENTRY', 'RESULT_BYTES']) {
  delete process.env[`TASKYARD_${name}`];
}
const home = process.cwd();
const socket = new net.Socket({ fd: 3, readable: true, writable: true });
const { exit } = process;

class Unusable extends Error {}

function frame(header, ...payload) {
  const head = Buffer.from(JSON.stringify(header));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(head.length, 0);
  lengths.writeUInt32BE(payload.reduce((sum, part) => sum + part.length, 0), 4);
  return Buffer.concat([lengths, head, ...payload]);
}

function say(header, ...payload) {
  socket.write(frame(header, ...payload));
}

function textOf(value) {
  const text = String(value);
  if (/[\r\n\0]/.test(text)) throw new Unusable('a header contains a line break');
  if (/[^\x00-\xff]/.test(text)) throw new Unusable('a header contains letters that no header can carry');
  return text;
}

function pairsOf(headers) {
  const items = headers == null ? []
    : typeof headers[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers);
  return items.flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => [textOf(name), textOf(one)]));
}

function encoded(body) {
  if (body == null) return [Buffer.alloc(0), null];
  if (typeof body === 'string') return [Buffer.from(body), 'text/plain; charset=utf-8'];
  if (Buffer.isBuffer(body)) return [body, 'application/octet-stream'];
  if (ArrayBuffer.isView(body)) {
    return [Buffer.from(body.buffer, body.byteOffset, body.byteLength), 'application/octet-stream'];
  }
  if (body instanceof ArrayBuffer) return [Buffer.from(body), 'application/octet-stream'];
  let text;
  try {
    text = JSON.stringify(body);
    // JSON has nothing for Map, Set, errors, streams and the like, and says so nowhere.
    if (text === undefined || text.includes('{}')) JSON.stringify(body, checked);
  } catch (error) {
    if (error instanceof Unusable) throw error;
    throw new Unusable(`a ${kindOf(body)} cannot be answered with: ${error.message}`);
  }
  if (text === undefined) throw new Unusable(`a ${kindOf(body)} cannot be answered with`);
  return [Buffer.from(text), 'application/json'];
}

function kindOf(value) {
  return typeof value === 'object' ? value?.constructor?.name || 'object' : typeof value;
}

function checked(key, value) {
  if (value && typeof value === 'object' && Object.keys(value).length === 0) {
    const prototype = Object.getPrototypeOf(value);
    const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
    if (!isPlain && !Array.isArray(value)) {
      const where = key === '' ? '' : ` (in ${JSON.stringify(key)})`;
      throw new Unusable(`a ${kindOf(value)} cannot be answered with: JSON would lose what is in it${where}`);
    }
  }
  return value;
}

function answerOf(value) {
  let status = 200;
  let headers = null;
  let body = value;
  if (value && typeof value === 'object' && !Buffer.isBuffer(value)
      && ['statusCode', 'headers', 'body'].some((name) => name in value)) {
    status = value.statusCode ?? 200;
    ({ headers = null, body = null } = value);
  }
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new Unusable(`the status has to be a number from 200 to 599, not ${util.inspect(status)}`);
  }
  const [content, kind] = encoded(body);
  const pairs = pairsOf(headers);
  if (kind && !pairs.some(([name]) => name.toLowerCase() === 'content-type')) {
    pairs.unshift(['content-type', kind]);
  }
  if (content.length > RESULT_BYTES) {
    throw new Unusable(`the answer has ${content.length} bytes; ${RESULT_BYTES} are allowed`);
  }
  return { status, pairs, content };
}

function requestOf(header, rawBody, state) {
  const headers = {};
  for (const [name, value] of header.headers || []) {
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
  }
  const query = {};
  for (const [name, value] of new URLSearchParams(header.query || '')) {
    if (!(name in query)) query[name] = value;
  }
  const kind = headers['content-type'] || '';
  let reported = -Infinity;
  return {
    id: header.id, method: header.method, host: header.host, path: '/', headers, query,
    queryString: header.query || '', rawBody,
    get body() {
      if (/[/+]json\b/i.test(kind)) {
        try { return JSON.parse(rawBody.toString()); } catch { return rawBody.toString(); }
      }
      return /^text\/|urlencoded/i.test(kind) ? rawBody.toString() : rawBody;
    },
    get text() { return rawBody.toString(); },
    json() { return rawBody.length ? JSON.parse(rawBody.toString()) : null; },
    progress(fraction, text) {
      if (state.over) return;
      const now = performance.now();
      const part = Math.min(1, Math.max(0, Number(fraction) || 0));
      if (now < reported + PROGRESS_MS && part < 1) return;
      reported = now;
      say({ call: state.number, progress: part, text: text == null ? null : String(text).slice(0, 500) });
    },
  };
}

function contextOf(header, request, done) {
  const set = { status: 200, headers: {} };
  const context = {
    taskId: header.task, functionId: header.function, node: header.node,
    hostname: os.hostname(), timeout: header.timeout_s,
    progress: (percent) => request.progress(percent / 100),
    status(code) { set.status = code; return context; },
    headers(values) { Object.assign(set.headers, values); return context; },
    succeed(value) { done.resolve(context.wrap(value)); },
    fail(error) { done.reject(error instanceof Error ? error : new Error(String(error))); },
    wrap(value) {
      const plain = set.status === 200 && Object.keys(set.headers).length === 0;
      return plain ? value : { statusCode: set.status, headers: set.headers, body: value };
    },
  };
  return context;
}

async function call(handler, header, body, state) {
  const request = requestOf(header, body, state);
  if (handler.length < 2) return handler(request);
  return new Promise((resolve, reject) => {
    const context = contextOf(header, request, { resolve, reject });
    Promise.resolve().then(() => handler(request, context))
      .then((value) => { if (value !== undefined || handler.constructor.name === 'AsyncFunction') resolve(context.wrap(value)); }, reject);
  });
}

function hasChildren() {
  try {
    return fs.readdirSync('/proc/self/task').some((thread) =>
      fs.readFileSync(`/proc/self/task/${thread}/children`, 'ascii').trim() !== '');
  } catch {
    return true;
  }
}

function tidy() {
  process.chdir(home);
  for (const name of fs.readdirSync('.')) fs.rmSync(name, { recursive: true, force: true });
}

// An error that nobody caught fails its own call; after that it concerns no call any more.
function uncaught(error, isFatal) {
  const state = calls.getStore() ?? running;
  if (isFatal) wearOut();
  if (state && !state.over) state.fail(error);
}

let running = null;

async function serve(handler, header, body) {
  let head;
  let content = Buffer.alloc(0);
  const state = { number: header.call, over: false, fail: null };
  const failed = new Promise((_, reject) => { state.fail = reject; });
  failed.catch(() => {});
  running = state;
  try {
    const answer = answerOf(await Promise.race(
      [calls.run(state, call, handler, header, body, state), failed]));
    // Node tells of rejections once nothing else is to be done at once.
    await Promise.race([new Promise((resolve) => { setImmediate(resolve); }), failed]);
    ({ content } = answer);
    head = { status: answer.status, headers: answer.pairs };
  } catch (error) {
    if (error instanceof Unusable) {
      head = { error: `the handler answered with something unusable: ${error.message}` };
    } else {
      fs.writeSync(2, `${util.inspect(error)}\n`);
      head = { error: error instanceof Error ? `${error.name}: ${error.message}` : util.inspect(error) };
    }
    content = Buffer.alloc(0);
  }
  state.over = true;
  running = null;
  const kids = await remain() || areStreamsLost() || hasChildren();
  say({ ...head, call: state.number, sizes: [content.length, 0, 0], kids }, content);
  tidy();
}

// A CommonJS file that uses await outside of functions, which Node would take for a module. Null for
// one that is: there are exports in it that no function could have.
async function loadAwaiting(file) {
  if (path.extname(file) === '.mjs') return null;
  const source = fs.readFileSync(file, 'utf8').replace(/^#!.*/, '');
  const names = 'exports, require, module, __filename, __dirname';
  let run;
  try {
    const options = { filename: file, importModuleDynamically: vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER };
    run = vm.runInThisContext(`(async (${names}) => {${source}\n})`, options);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  const module = { exports: {}, filename: file };
  await run.call(module.exports, module.exports, createRequire(file), module, file, path.dirname(file));
  return module.exports;
}

async function load() {
  const file = path.join(TASKYARD_CODE, TASKYARD_HANDLER);
  let loaded;
  try {
    loaded = createRequire(file)(file);
  } catch (error) {
    const isModule = ['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'].includes(error?.code);
    if (!isModule && !(error instanceof SyntaxError)) throw error;
    loaded = await loadAwaiting(file) ?? await import(pathToFileURL(file).href);
  }
  const found = [loaded, loaded.default, loaded[TASKYARD_ENTRY], loaded.default?.[TASKYARD_ENTRY]]
    .find((one) => typeof one === 'function');
  if (!found) throw new TypeError(`${TASKYARD_HANDLER} exports no function`);
  return found;
}

useOwnStreams();
guardAll();
try {
  const handler = await load();
  begin();
  noteStreams();
  process.on('unhandledRejection', (reason) => uncaught(reason, false));
  process.on('uncaughtException', (error) => uncaught(error, true));
  let buffer = Buffer.alloc(0);
  let queue = Promise.resolve();
  socket.on('data', (data) => {
    buffer = buffer.length ? Buffer.concat([buffer, data]) : data;
    while (buffer.length >= 8) {
      const header = buffer.readUInt32BE(0);
      const end = 8 + header + buffer.readUInt32BE(4);
      if (buffer.length < end) return;
      const head = JSON.parse(buffer.subarray(8, 8 + header).toString());
      const body = Buffer.from(buffer.subarray(8 + header, end));
      buffer = buffer.subarray(end);
      queue = queue.then(() => serve(handler, head, body));
    }
  });
  socket.on('end', () => exit(0));
  socket.on('error', () => exit(0));
  say({ ready: true });
} catch (error) {
  socket.end(frame({ failed: util.inspect(error).slice(0, 8000) }), () => exit(1));
}
