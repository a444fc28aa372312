/**
 * What enrolment left on this node: `credentials.json` in the agent's folder.
 *
 * 1. The folder is the owner's alone (0700), and so is the file (0600); a file that others could read is tightened, and that is told.
 * 2. A new file takes the old one's place in one step, on disk before that: a crash leaves the one or the other.
 * 3. The device code is kept until it has served: it says in the node's status which device this is, and is worthless after.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { InvalidSettingError } from '../protocol/errors.ts';

const FILE = 'credentials.json';

export interface Credentials {
  readonly apiUrl: string;
  readonly deviceId: string;
  readonly nodeId: string;
  readonly orgId: string;
  readonly orgName?: string;
  /** Bearer token of this node. */
  readonly token: string;
  /** base64url Ed25519 public key of the configurations that are meant for this node. */
  readonly configKey: string;
  /** Absent once it was redeemed. */
  readonly deviceCode?: string;
}

/** In the file. */
const NAMES = {
  apiUrl: 'api_url',
  deviceId: 'device_id',
  nodeId: 'node_id',
  orgId: 'org_id',
  orgName: 'org_name',
  token: 'device_api_token',
  configKey: 'config_public_key',
  deviceCode: 'device_code',
} as const satisfies { readonly [field in keyof Credentials]-?: string };
const OPTIONAL: readonly string[] = ['orgName', 'deviceCode'];

/** Reads `CASTELLAN_AGENT_DIR`, `XDG_CONFIG_HOME` and `HOME`. */
export function agentFolder(environment: { readonly [variable: string]: string | undefined }): string {
  const own = environment['CASTELLAN_AGENT_DIR'];
  if (own) return own;
  const configuration = environment['XDG_CONFIG_HOME'];
  // The base directory specification has relative paths ignored.
  const base = configuration && isAbsolute(configuration) ? configuration : join(environment['HOME'] || homedir(), '.config');
  return join(base, 'castellan');
}

export function credentialsFile(folder: string): string {
  return join(folder, FILE);
}

/** Makes the folder, so that a disk that refuses is known before a person is asked. Throws InvalidSettingError. */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await chmod(folder, 0o700); // (1)
    const probe = join(folder, `.probe-${randomBytes(4).toString('hex')}`);
    await (await open(probe, 'wx', 0o600)).close();
    await rm(probe);
  } catch (error) {
    throw new InvalidSettingError('CASTELLAN_AGENT_DIR', `names ${folder}, where nothing can be written: ${(error as Error).message}.`);
  }
}

/** Undefined when this node was never enrolled. Throws InvalidSettingError for a file that cannot be read as credentials. */
export async function readCredentials(folder: string, warn: (message: string) => void): Promise<Credentials | undefined> {
  const file = credentialsFile(folder);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
    await tighten(file, warn);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(file, (error as Error).message);
  }
  return parse(file, text);
}

/** Upholds (1) and (2). */
export async function writeCredentials(folder: string, credentials: Credentials): Promise<void> {
  await prepareFolder(folder);
  const stored = Object.fromEntries(Object.entries(NAMES).map(([field, name]) => [name, credentials[field as keyof Credentials]]));
  const temporary = join(folder, `.${FILE}-${randomBytes(4).toString('hex')}`);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(stored, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, credentialsFile(folder));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Once the code has served. Leaves the credentials of a later enrolment alone. (3) */
export async function forgetDeviceCode(folder: string, deviceCode: string, warn: (message: string) => void): Promise<void> {
  const credentials = await readCredentials(folder, warn);
  if (credentials?.deviceCode !== deviceCode) return;
  const kept: { deviceCode?: string } & Credentials = { ...credentials };
  delete kept.deviceCode;
  await writeCredentials(folder, kept);
}

async function tighten(file: string, warn: (message: string) => void): Promise<void> {
  const { mode } = await stat(file);
  if ((mode & 0o077) === 0) return;
  await chmod(file, 0o600);
  warn(`${file} could be read by others and is the owner's alone now. If others use this machine, enrol it again: castellan init --force.`);
}

function parse(file: string, text: string): Credentials {
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    throw unusable(file, 'it is not JSON');
  }
  if (typeof stored !== 'object' || stored === null) throw unusable(file, 'it is not an object');
  const found = Object.entries(NAMES).flatMap(([field, name]) => {
    const value = (stored as { readonly [name: string]: unknown })[name];
    if (value === undefined && OPTIONAL.includes(field)) return [];
    if (typeof value !== 'string' || value === '') throw unusable(file, `${name} is missing`);
    return [[field, value] as const];
  });
  return Object.fromEntries(found) as unknown as Credentials;
}

/** Never quotes what stands there. */
function unusable(file: string, why: string): InvalidSettingError {
  return new InvalidSettingError('CASTELLAN_AGENT_DIR', `leads to ${file}, which cannot be used: ${why}. Enrol this node again: castellan init --force.`);
}
