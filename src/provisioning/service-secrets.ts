/**
 * The secrets of a service, such as a database's password: made on the node, for that node alone.
 *
 * 1. One file a secret, `<folder>/<service>.<VARIABLE>`, mode 0600. It is never replaced: a database keeps the password that it was made with.
 * 2. A secret leaves the node's folder only as an environment variable of its container.
 */
import { randomBytes } from 'node:crypto';
import { InvalidSettingError } from '../protocol/errors.ts';
import type { CatalogueService } from './catalogue.ts';
import { readOrMakePrivate } from './private-file.ts';

/** 192 bits; base64url of it needs no quoting anywhere. */
const SECRET_BYTES = 24;
const SECRET = /^[!-~]{16,256}$/;

/** Variables of the container, made at the first call. `folder` is the agent's own for secrets. */
export function secretsOf(folder: string, service: Pick<CatalogueService, 'name' | 'secrets'>): { readonly [env: string]: string } {
  const env: { [name: string]: string } = {};
  for (const name of Object.keys(service.secrets ?? {})) {
    const { text, path } = readOrMakePrivate(folder, `${service.name}.${name}`, () => `${randomBytes(SECRET_BYTES).toString('base64url')}\n`);
    const secret = text.trimEnd();
    if (!SECRET.test(secret)) throw new InvalidSettingError(name, `in the file ${path} must be 16 to 256 printable characters without spaces.`);
    env[name] = secret;
  }
  return env;
}
