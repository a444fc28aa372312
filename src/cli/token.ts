/** `castellan token`: makes a token for a person or a program, or a one-time link for a browser. */
import { Command, Option } from 'commander';
import { readSecret } from '../http/auth/first-start.ts';
import { ROLES, type Role } from '../http/auth/principal.ts';
import { issueToken } from '../http/auth/tokens.ts';
import { jwtSecret } from '../http/settings.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { environmentWith, readDataDir, type Environment } from './settings.ts';

const LIFETIME_DEFAULT = '30d';
const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

interface TokenFlags {
  readonly user?: string;
  readonly role: Role;
  readonly org?: string;
  readonly expiresIn: string;
  readonly link?: boolean;
}

export function tokenCommand(): Command {
  return new Command('token')
    .description('print a token (JWT), or with --link a one-time link to the inspector')
    .option('--user <name>', 'whom the token is for')
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES.slice(1)).default('viewer'))
    .option('--org <organisation>', 'bind it to one organisation')
    .option('--expires-in <duration>', 'such as 30m, 12h, 90d', LIFETIME_DEFAULT)
    .option('--link', 'print a one-time link with your own rights instead')
    .action(async (flags: TokenFlags) => {
      const environment = environmentWith({});
      console.log(flags.link ? await makeLink(environment) : await makeToken(flags, environment));
    });
}

async function makeToken({ user, role, org, expiresIn }: TokenFlags, environment: Environment): Promise<string> {
  if (!user) throw new InvalidSettingError('--user', 'is missing: say whom the token is for.');
  const secret = await signingSecret(environment);
  const lifetimeMs = readDuration(expiresIn);
  const named = environment['JWT_SECRET'] ? { issuer: environment['JWT_ISSUER'], audience: environment['JWT_AUDIENCE'] } : {};
  return await issueToken(
    secret,
    {
      subject: user,
      role,
      lifetimeMs,
      ...(org === undefined ? {} : { org }),
      ...(named.issuer ? { issuer: named.issuer } : {}),
      ...(named.audience ? { audience: named.audience } : {}),
    },
    Date.now,
  );
}

async function signingSecret(environment: Environment): Promise<Uint8Array> {
  if (environment['JWT_SECRET'] && !environment['JWT_JWKS_URL']) return jwtSecret(environment['JWT_SECRET']);
  const dataDir = readDataDir(environment);
  const secret = await readSecret(dataDir);
  if (secret === undefined)
    throw new InvalidSettingError('CASTELLAN_DATA_DIR', `names ${dataDir}, which holds no secret yet. Start Castellan there once, or set JWT_SECRET.`);
  return secret;
}

async function makeLink(environment: Environment): Promise<string> {
  const client = await controlPlaneClient(environment);
  const { secret } = await client.post<{ readonly secret: string }>('/api/links');
  return `${client.url}/#link=${secret}`;
}

function readDuration(text: string): number {
  const match = /^([1-9][0-9]{0,4})([mhd])$/.exec(text);
  const unit = match?.[2] as keyof typeof UNIT_MS | undefined;
  if (unit === undefined) throw new InvalidSettingError('--expires-in', 'must be a duration such as 30m, 12h or 90d.');
  return Number(match?.[1]) * UNIT_MS[unit];
}
