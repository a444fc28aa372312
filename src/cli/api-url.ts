/** Where the control plane is, for commands of a node. */
import { isLoopback } from '../http/live/allowed-network.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { Environment } from './settings.ts';

const DEFAULT_URL = 'http://127.0.0.1:3001';

/** The flag `--api-url`, else `CASTELLAN_URL`, else this machine. Throws InvalidSettingError. */
export function readApiUrl(flag: string | undefined, environment: Environment, otherwise: string = DEFAULT_URL): URL {
  const text = flag ?? (environment['CASTELLAN_URL'] || otherwise);
  const url = URL.parse(text);
  const usable = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (!usable) throw new InvalidSettingError('--api-url', 'must be a URL such as https://castellan.example:3001, without a password or a query.');
  return url;
}

/** Whether a token sent there could be read on the way. */
export function isInTheClear({ protocol, hostname }: URL): boolean {
  return protocol === 'http:' && hostname !== 'localhost' && !isLoopback(hostname.replace(/^\[|\]$/g, ''));
}
