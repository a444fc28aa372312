/**
 * `castellan init`: enrols this machine. Shows a code and a QR of the page where a person enters it, and waits for the decision.
 *
 * 1. The device code and the token are never shown: they go into the agent's folder and nowhere else.
 * 2. A node that is enrolled stays as it is unless it is asked for; then its credentials are replaced when the new ones are there, not before.
 * 3. What the control plane answers reaches the terminal without control characters.
 */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { createApiCaller, type ApiCaller } from '../agent/api-call.ts';
import { systemClock } from '../agent/clock.ts';
import { agentFolder, credentialsFile, prepareFolder, readCredentials, writeCredentials } from '../agent/credentials.ts';
import { awaitApproval, machineIdOf, rotateToken, startEnrolment, type Enrolment, type EnrolmentCodes } from '../agent/enrol.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { isInTheClear, readApiUrl } from './api-url.ts';
import { qrCode } from './qr-code.ts';
import { environmentWith, type Environment } from './settings.ts';
import { printable } from './table.ts';
import { version } from './version.ts';

/** Every command ends with 0 when it is asked to end (contracts 9); nothing was changed. */
const LEFT_EXIT_CODE = 0;
/** Machines that systemd or D-Bus set up have one of them. */
const MACHINE_ID_FILES = ['/etc/machine-id', '/var/lib/dbus/machine-id'];

interface InitFlags {
  readonly apiUrl?: string;
  readonly force?: boolean;
  readonly forceNew?: boolean;
  readonly rotate?: boolean;
  readonly qr: boolean;
}

export function initCommand(): Command {
  return new Command('init')
    .description('enrol this machine as a node: shows a code that a person approves in the browser')
    .option('--api-url <url>', 'the control plane (CASTELLAN_URL, default: http://127.0.0.1:3001)')
    .option('--force', 'enrol again though this node is enrolled')
    .option('--force-new', 'enrol again, as a device that the control plane does not know yet')
    .option('--rotate', 'only change the token of this node; an agent that runs goes on with the new one')
    .option('--no-qr', 'show no QR code')
    .action(async (flags: InitFlags) => {
      const leaving = new AbortController();
      const leave = (): void => leaving.abort();
      // Once each: a second Ctrl-C ends the process at once.
      for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, leave);
      process.exitCode = await runInit(flags, environmentWith({}), leaving.signal);
      for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, leave);
    });
}

/** The exit code: 0 when this node is enrolled. Throws InvalidSettingError. */
async function runInit({ apiUrl, force, forceNew, rotate, qr }: InitFlags, environment: Environment, signal: AbortSignal): Promise<number> {
  const folder = agentFolder(environment);
  if (rotate === true) return await runRotation(folder, apiUrl, environment);
  const again = force === true || forceNew === true;
  if (!again && (await isEnrolled(folder))) return 0;
  await prepareFolder(folder);
  const url = readApiUrl(apiUrl, environment);
  if (isInTheClear(url)) console.error(`castellan: ${url.origin} is reached in the clear: the token could be read on the way. Use https there.`);
  const api = createApiCaller(url);
  try {
    for (;;) {
      const enrolment = await enrolOnce(api, { forceNew: forceNew === true, qr }, signal);
      if (enrolment.kind === 'granted') {
        await writeCredentials(folder, enrolment.credentials);
        const { nodeId, orgName, orgId } = enrolment.credentials;
        say(`Enrolled as node ${nodeId} of ${orgName ?? orgId}. The credentials are in ${credentialsFile(folder)}.`);
        say('Run its agent with: castellan work --mode=api');
        return 0;
      }
      if (enrolment.kind === 'stopped') {
        say('Left. The code ends by itself; nothing was changed on this machine.');
        return LEFT_EXIT_CODE;
      }
      if (enrolment.kind === 'expired' && (await wantsNewCode(signal))) continue;
      console.error(`castellan: ${endOf(enrolment)}`);
      return 1;
    }
  } finally {
    api.close();
  }
}

async function runRotation(folder: string, apiUrl: string | undefined, environment: Environment): Promise<number> {
  const credentials = await readCredentials(folder, (message) => console.error(message));
  if (credentials === undefined) throw new InvalidSettingError('--rotate', 'needs an enrolled node. Run castellan init without it.');
  await prepareFolder(folder);
  const api = createApiCaller(readApiUrl(apiUrl, environment, credentials.apiUrl));
  try {
    const rotation = await rotateToken(api, credentials.token);
    if (rotation.kind === 'failed') {
      console.error(`castellan: The token was not changed: ${printable(rotation.reason)}. Try again within a minute, or run castellan init --force.`);
      return 1;
    }
    await writeCredentials(folder, { ...credentials, token: rotation.token });
    say('This node has a new token. The old one works for another minute.');
    return 0;
  } finally {
    api.close();
  }
}

async function isEnrolled(folder: string): Promise<boolean> {
  const credentials = await readCredentials(folder, (message) => console.error(message));
  if (credentials === undefined) return false;
  say(`This machine is enrolled at ${credentials.apiUrl} as node ${credentials.nodeId}. To do it again: castellan init --force`);
  return true;
}

async function enrolOnce(api: ApiCaller, { forceNew, qr }: { readonly forceNew: boolean; readonly qr: boolean }, signal: AbortSignal): Promise<Enrolment> {
  const machineId = await readMachineId();
  const request = { clientVersion: version(), hostname: hostname(), forceNew, ...(machineId === undefined ? {} : { machineId }) };
  const started = await startEnrolment(api, request);
  if (started.kind === 'failed')
    throw new InvalidSettingError('--api-url', `is ${api.url}: ${printable(started.reason)}. Start the control plane, or say where it is.`);
  show(started.codes, qr);
  return await awaitApproval({ api, codes: started.codes, hostname: hostname(), clock: systemClock(), signal, onOutage: sayOutage });
}

function show({ userCode, verificationUri, verificationUriComplete, expiresInS }: EnrolmentCodes, qr: boolean): void {
  say(`\nTo enrol this machine, open\n\n    ${verificationUri}\n\nand enter the code\n\n    ${userCode}\n`);
  if (qr && process.stdout.isTTY) console.log(`${qrCode(verificationUriComplete ?? verificationUri, process.env['NO_COLOR'] === undefined)}\n`);
  say(`Waiting for the approval, for ${Math.round(expiresInS / 60)} minutes at most. Ctrl-C leaves.`);
}

function sayOutage(reason: string | undefined): void {
  say(reason === undefined ? 'The control plane answers again; waiting for the approval.' : `The control plane does not answer (${reason}); trying again.`);
}

/** A script gets no question, but an answer. */
async function wantsNewCode(signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // readline takes Ctrl-C for itself while it asks.
  terminal.once('SIGINT', () => terminal.close());
  const closed = new Promise<false>((resolve) => terminal.once('close', () => resolve(false)));
  try {
    return await Promise.race([terminal.question('The code has expired. Enter shows a new one, Ctrl-C leaves. ', { signal }).then(() => true), closed]);
  } catch {
    return false;
  } finally {
    terminal.close();
  }
}

function endOf(enrolment: Exclude<Enrolment, { readonly kind: 'granted' | 'stopped' }>): string {
  switch (enrolment.kind) {
    case 'denied':
      return 'The request was denied. Ask who runs the control plane, then run castellan init again.';
    case 'expired':
      return 'The code has expired, or was used up. Run castellan init again for a new one.';
    case 'refused':
      return `The control plane refused: ${printable(enrolment.reason)}. Run castellan init again.`;
  }
}

async function readMachineId(): Promise<string | undefined> {
  for (const file of MACHINE_ID_FILES) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.trim() !== '') return machineIdOf(text);
  }
  return undefined;
}

/** Line by line, so that the line breaks are ours. (3) */
function say(text: string): void {
  console.log(text.split('\n').map(printable).join('\n'));
}
