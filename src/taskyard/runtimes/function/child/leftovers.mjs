// What calls of a JavaScript function left behind: timers and promises go on in the same process, and
// print nothing, end nothing and start nothing in the name of another call. Workers cannot be held
// back like this: a process in which a call left any is not used again.
import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks';
import child from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

// For workers that are about to end: many have sent their result a moment before.
const GRACE_MS = 20;
// The call that what runs now was begun by, however long ago: timers and promises keep it.
export const calls = new AsyncLocalStorage();
// Connections may have been made by one call and serve the next: what they bring is the running call's.
const SHARED = new Set(['TCP', 'Pipe', 'TLSWrap', 'UDP', 'HTTPCLIENTREQUEST', 'HTTPParser', 'MessagePort']);
const workers = new Map(); // And a promise of the end of each.
let known = new Set();
let isWorn = false; // Whether a call left behind an error that nobody caught, or tried to end the process.

export function isLeftBehind() {
  return calls.getStore()?.over === true && !SHARED.has(executionAsyncResource()?.constructor?.name);
}

export function wearOut() {
  isWorn = true;
}

// Replaces a function of Node's by one that knows who calls it.
function guard(owner, name, guarded) {
  const real = owner[name];
  const replacement = function (...given) {
    return isLeftBehind() ? guarded.call(this, real, given) : real.apply(this, given);
  };
  owner[name] = Object.defineProperties(replacement, Object.getOwnPropertyDescriptors(real));
}

function refuse() {
  wearOut();
  // Nobody hears of it: what is left behind has nobody to tell.
  throw new Error('the call that this belongs to is over');
}

function isOutput(descriptor) {
  return descriptor === 1 || descriptor === 2;
}

function sizeOf(data) {
  if (Array.isArray(data)) return data.reduce((sum, part) => sum + part.byteLength, 0);
  return typeof data === 'string' ? Buffer.byteLength(data) : data?.byteLength ?? 0;
}

// Drops what is left behind and writes to descriptors 1 and 2, however it got to know of them.
function guardOutput() {
  for (const name of ['writeSync', 'writevSync', 'writeFileSync', 'appendFileSync']) {
    guard(fs, name, (real, given) => (isOutput(given[0]) ? sizeOf(given[1]) : real.apply(fs, given)));
  }
  for (const name of ['write', 'writev', 'writeFile', 'appendFile']) {
    guard(fs, name, (real, given) => {
      if (!isOutput(given[0])) return real.apply(fs, given);
      const done = given.at(-1);
      if (typeof done === 'function') process.nextTick(done, null, sizeOf(given[1]), given[1]);
      return undefined;
    });
  }
  for (const stream of [process.stdout, process.stderr]) {
    guard(stream, 'write', (real, given) => {
      const done = given.at(-1);
      if (given.length > 1 && typeof done === 'function') process.nextTick(done);
      return true;
    });
  }
}

// Everything, before anybody's code is loaded: that may take hold of it.
export function guardAll() {
  guardOutput();
  for (const name of ['exit', 'reallyExit', 'abort']) guard(process, name, refuse);
  guard(process, 'kill', (real, given) =>
    (Math.abs(given[0]) === process.pid || given[0] === 0 ? refuse() : real.apply(process, given)));
  guard(child.ChildProcess.prototype, 'spawn', refuse);
  for (const name of ['spawnSync', 'execSync', 'execFileSync']) guard(child, name, refuse);
  threads.Worker = new Proxy(threads.Worker, {
    construct(target, given, called) {
      if (isLeftBehind()) refuse();
      const worker = Reflect.construct(target, given, called);
      workers.set(worker, new Promise((resolve) => {
        worker.once('exit', () => {
          workers.delete(worker);
          resolve();
        });
      }));
      return worker;
    },
  });
  syncBuiltinESMExports();
}

// What runs before the first call belongs to none.
export function begin() {
  known = new Set(workers.keys());
}

// Whether the process is not to be used again, now that a call is over.
export async function remain() {
  const left = [...workers].filter(([worker]) => !known.has(worker));
  if (left.length && !isWorn) {
    let timer;
    const late = new Promise((resolve) => { timer = setTimeout(resolve, GRACE_MS); });
    await Promise.race([Promise.all(left.map(([, end]) => end)), late]);
    clearTimeout(timer);
  }
  return isWorn || left.some(([worker]) => workers.has(worker));
}
