/**
 * A file with a secret, made once and then read: of its owner alone.
 *
 * 1. It is there as a whole or not at all: written beside, flushed, then linked to its name.
 * 2. Of two processes that make it at the same time, one wins and both read the winner's.
 * 3. A file that others may read is closed to them, and goes on being used: they may have read it, which a log line should say; see `tightened`.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs';

const OWNER_ONLY = 0o600;
const FOLDER_OWNER_ONLY = 0o700;
const OTHERS = 0o077;

export interface PrivateFile {
  readonly text: string;
  readonly path: string;
  /** It could be read by others until now. */
  readonly tightened: boolean;
}

/** Reads `folder/name`, or writes what `make` gives. The folder is made too. Throws what the file system throws. */
export function readOrMakePrivate(folder: string, name: string, make: () => string): PrivateFile {
  const path = `${folder}/${name}`;
  const found = read(path);
  if (found !== undefined) return found;
  mkdirSync(folder, { recursive: true, mode: FOLDER_OWNER_ONLY });
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const file = openSync(draft, 'wx', OWNER_ONLY);
  try {
    try {
      writeSync(file, make());
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    linkSync(draft, path);
    flush(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    unlinkSync(draft);
  }
  return read(path) as PrivateFile;
}

function read(path: string): PrivateFile | undefined {
  try {
    const tightened = (statSync(path).mode & OTHERS) !== 0;
    if (tightened) chmodSync(path, OWNER_ONLY);
    return { text: readFileSync(path, 'utf8'), path, tightened };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function flush(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
