/** Runs the program as a user does, in a folder of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';

export const REPOSITORY = join(import.meta.dirname, '../..');
const LAUNCHER = join(REPOSITORY, 'bin/castellan.js');

export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment holds nothing of the caller's settings but what is given. */
export async function castellan(args: readonly string[], environment: { readonly [name: string]: string }, folder: string): Promise<Answer> {
  return await new Promise((resolve) => {
    execFile(process.execPath, [LAUNCHER, ...args], { cwd: folder, env: { PATH: process.env['PATH'], ...environment } }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr });
    });
  });
}
