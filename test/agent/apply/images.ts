/** Images for tests of applying, made of a static busybox: an Ollama that lists one model, and one whose behaviour its configuration chooses. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type Docker from 'dockerode';
import type { CatalogueService } from '../../../src/provisioning/catalogue.ts';

const run = promisify(execFile);

export const OLLAMA_IMAGE = 'ollama/ollama:latest';
export const PROBE_IMAGE = 'castellan/probe:1';

const OLLAMA = `mkdir -p /tmp/www/api && echo '{"models":[{"name":"llama3:8b"}]}' > /tmp/www/api/tags && echo '{}' > /tmp/www/api/version && echo Ollama is running > /tmp/www/index.html && exec busybox httpd -f -p 11434 -h /tmp/www`;

export async function importImages(docker: Docker): Promise<void> {
  await importImage(docker, OLLAMA_IMAGE, OLLAMA);
  await importImage(docker, PROBE_IMAGE, 'echo no command; exit 1');
}

async function importImage(docker: Docker, image: string, script: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'castellan-image-'));
  const root = join(folder, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  const { stdout } = await run('sh', ['-c', 'command -v busybox']);
  await copyFile(stdout.trim(), join(root, 'bin', 'busybox'));
  for (const applet of ['sh', 'mkdir', 'echo', 'sleep', 'cat', 'env', 'touch']) await symlink('busybox', join(root, 'bin', applet));
  const archive = join(folder, 'root.tar');
  await run('tar', ['-C', root, '-cf', archive, '.']);
  const [repo, tag] = image.split(':');
  const progress = await docker.importImage(archive, {
    repo,
    tag,
    changes: [`CMD ${JSON.stringify(['/bin/sh', '-c', script])}`, 'ENV PATH=/bin'],
  } as { readonly repo?: string });
  await new Promise<void>((resolve, reject) => docker.modem.followProgress(progress, (error) => (error ? reject(error) : resolve())));
  await rm(folder, { recursive: true, force: true });
}

/** Serves what `reply` says on `host`, or, with `mode` `sick`, never; with `falls`, it ends at once. */
export function probeService(name: string, host: number, more: Partial<CatalogueService> = {}): CatalogueService {
  const script = [
    // The first process of a container ignores signals that it does not handle.
    'trap "exit 0" TERM',
    'echo "mode $MODE reply $REPLY"',
    'if [ "$MODE" = falls ]; then echo falling with $PROBE_PASSWORD; exit 3; fi',
    'if [ "$MODE" = sick ]; then while :; do sleep 1; done; fi',
    'mkdir -p /tmp/www',
    'echo "$REPLY" > /tmp/www/health',
    'busybox httpd -f -p 8080 -h /tmp/www &',
    'wait',
  ].join('\n');
  return {
    name,
    title: name,
    description: 'A probe.',
    kind: 'other',
    image: PROBE_IMAGE,
    command: ['/bin/sh', '-c', script],
    parameters: {
      mode: { description: 'How it behaves.', type: 'string', pattern: '^(well|sick|falls)$', default: 'well', env: 'MODE' },
      reply: { description: 'What it answers.', type: 'string', pattern: '^[a-z0-9]{1,20}$', default: 'one', env: 'REPLY' },
    },
    ports: [{ container: 8080, host }],
    volumes: [{ name: 'data', path: '/data' }],
    diskGb: 1,
    limits: { memoryMb: 64, cpus: 0.5, pids: 32 },
    readOnlyRoot: true,
    health: { kind: 'http', port: 8080, path: '/health' },
    startDeadlineMs: 6_000,
    ...more,
  };
}
