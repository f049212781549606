// Standard output and error are pipes. Node's own streams would not block there: what is still on its
// way came after the answer, and whoever writes to the descriptors themselves met a full pipe.
import fs from 'node:fs';
import { Writable } from 'node:stream';

const { fstatSync, writeSync } = fs;
const own = [];
let ends = [];

class PipeStream extends Writable {
  constructor(fd) {
    super();
    this.fd = fd;
    this._type = 'fs'; // As Node calls those that do not keep a process alive.
  }

  _write(chunk, encoding, done) {
    try {
      for (let at = 0; at < chunk.length;) at += writeSync(this.fd, chunk, at);
      done();
    } catch (error) {
      done(error);
    }
  }

  _destroy(error, done) {
    done(error); // The descriptor stays open: there is the next call.
  }
}

// Before anybody has taken hold of Node's.
export function useOwnStreams() {
  for (const [name, fd] of [['stdout', 1], ['stderr', 2]]) {
    const stream = new PipeStream(fd);
    own.push(stream);
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
  }
}

// What each is open on; null for one that cannot be printed to.
function where() {
  return own.map((stream) => {
    try {
      const { dev, ino } = fstatSync(stream.fd);
      return stream.writable ? `${dev} ${ino}` : null;
    } catch {
      return null;
    }
  });
}

// Calls begin: what was done to the streams before is the function's own way.
export function noteStreams() {
  ends = where();
}

// Whether a call closed them, or had them lead elsewhere: later calls would print nothing.
export function areStreamsLost() {
  return where().some((end, index) => end !== ends[index]);
}
