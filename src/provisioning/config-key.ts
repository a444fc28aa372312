/** The control plane's key pair for configurations, made at its first start. Control planes that serve the same nodes share the file. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { InvalidSettingError } from '../protocol/errors.ts';
import { privateKeyOf, publicKeyText } from './config-signature.ts';
import { readOrMakePrivate } from './private-file.ts';

export const CONFIG_KEY_FILE = 'config-key.pem';

export interface ConfigKey {
  readonly privateKey: KeyObject;
  /** base64url; what enrolment tells to nodes. */
  readonly publicKey: string;
  /** Others could read the file until now. */
  readonly tightened: boolean;
}

/** Throws {@link InvalidSettingError} when the file is there and holds no Ed25519 key: a new one would lock out all enrolled nodes. */
export function loadConfigKey(folder: string): ConfigKey {
  const { text, path, tightened } = readOrMakePrivate(folder, CONFIG_KEY_FILE, makeKey);
  const privateKey = privateKeyOf(text);
  const publicKey = privateKey === undefined ? undefined : publicKeyText(privateKey);
  if (privateKey === undefined || publicKey === undefined)
    throw new InvalidSettingError(CONFIG_KEY_FILE, `at ${path} holds no Ed25519 private key. Restore it; enrolled nodes trust no other.`);
  return { privateKey, publicKey, tightened };
}

function makeKey(): string {
  return generateKeyPairSync('ed25519', { privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } })
    .privateKey;
}
