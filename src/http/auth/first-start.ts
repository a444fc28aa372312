/**
 * The secret of a data folder and the administrator's token, made at its first start.
 *
 * 1. Both files are readable by their owner alone; looser permissions are tightened.
 * 2. The secret is written whole or not at all, and of two processes that start at once both end with the same one.
 * 3. Later starts use the same secret, so that tokens given out go on working. The token is made anew shortly before it expires.
 */
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { issueToken, tokenVerifier, type WallClock } from './tokens.ts';

const DAY_MS = 86_400_000;
export const ADMIN_TOKEN_LIFETIME_MS = 365 * DAY_MS;
/** A token that ends sooner than this is replaced at the next start. */
const RENEW_BEFORE_MS = 30 * DAY_MS;
const SECRET_BYTES = 48;

export interface FirstStart {
  readonly secret: Uint8Array;
  readonly token: string;
  /** True when this call made the secret. */
  readonly created: boolean;
}

/** Where the secret and the administrator's token of a data folder lie. */
export function authFiles(dataDir: string): { readonly folder: string; readonly secret: string; readonly token: string } {
  const folder = join(dataDir, 'auth');
  return { folder, secret: join(folder, 'secret'), token: join(folder, 'admin-token') };
}

export async function createFirstStartToken(dataDir: string, now: WallClock = Date.now): Promise<FirstStart> {
  const files = authFiles(dataDir);
  await mkdir(files.folder, { recursive: true, mode: 0o700 });
  const created = await createOnce(files.secret, randomBytes(SECRET_BYTES).toString('base64url'));
  await chmod(files.secret, 0o600);
  const secret = new TextEncoder().encode((await readFile(files.secret, 'utf8')).trim());
  return { secret, token: await adminToken(files.token, secret, now), created };
}

/** The secret of a data folder that was started before; undefined when there is none. */
export async function readSecret(dataDir: string): Promise<Uint8Array | undefined> {
  const text = await readIfPresent(authFiles(dataDir).secret);
  return text === undefined ? undefined : new TextEncoder().encode(text);
}

/** The administrator's token of a data folder that was started before. */
export async function readAdminToken(dataDir: string): Promise<string | undefined> {
  return await readIfPresent(authFiles(dataDir).token);
}

async function adminToken(file: string, secret: Uint8Array, now: WallClock): Promise<string> {
  const stored = await readIfPresent(file);
  if (stored !== undefined) {
    const verification = await tokenVerifier({ kind: 'secret', secret, strict: true }, 'bearer', now)(stored);
    const expiresAt = verification.kind === 'valid' ? (decodeJwt(stored).exp ?? 0) * 1000 : 0;
    if (expiresAt - now() > RENEW_BEFORE_MS) return stored;
  }
  const token = await issueToken(secret, { subject: 'admin', role: 'admin', lifetimeMs: ADMIN_TOKEN_LIFETIME_MS }, now);
  const temporary = temporaryName(file);
  await writeFile(temporary, `${token}\n`, { mode: 0o600 });
  await rename(temporary, file);
  return token;
}

/** Upholds (2): the content is complete before the name exists, and `link` refuses a name that exists. */
async function createOnce(file: string, content: string): Promise<boolean> {
  const temporary = temporaryName(file);
  await writeFile(temporary, `${content}\n`, { mode: 0o600, flag: 'wx' });
  try {
    await link(temporary, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

function temporaryName(file: string): string {
  return `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
}

async function readIfPresent(file: string): Promise<string | undefined> {
  try {
    const text = (await readFile(file, 'utf8')).trim();
    return text === '' ? undefined : text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
