// Standard output and error are pipes. Node's own streams would not block there: what is still on its
// way came after the answer, and whoever writes to the descriptors themselves met a full pipe.
import fs from 'node:fs';
import { Writable } from 'node:stream';

const { writeSync } = fs;

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
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
  }
}
