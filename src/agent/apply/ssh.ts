/** The ssh server of this machine, by systemd. Whether remote configuration may switch it is the node's local policy's to say. */
import { execFile } from 'node:child_process';
import { ContainerEngineError } from '../../protocol/errors.ts';

export interface Ssh {
  enabled(signal: AbortSignal): Promise<boolean>;
  /** Throws when it cannot be switched. */
  set(enabled: boolean, signal: AbortSignal): Promise<void>;
}

/** Debian's name and everybody else's. */
const UNITS = ['ssh.service', 'sshd.service'];
const SYSTEMCTL_TIMEOUT_MS = 20_000;

export function systemdSsh(program = 'systemctl'): Ssh {
  const run = (args: readonly string[], signal: AbortSignal): Promise<{ readonly ok: boolean; readonly text: string }> =>
    new Promise((resolve) => {
      execFile(program, args, { timeout: SYSTEMCTL_TIMEOUT_MS, signal }, (error, stdout, stderr) =>
        resolve({ ok: error === null, text: (stderr || stdout || error?.message || '').trim() }),
      );
    });
  return {
    async enabled(signal) {
      for (const unit of UNITS) if ((await run(['is-active', '--quiet', unit], signal)).ok) return true;
      return false;
    },
    async set(enabled, signal) {
      let said = '';
      for (const unit of UNITS) {
        const { ok, text } = await run([enabled ? 'enable' : 'disable', '--now', unit], signal);
        if (ok) return;
        said = text;
      }
      throw new ContainerEngineError('engine_refused', `The ssh server could not be switched ${enabled ? 'on' : 'off'}: ${said.slice(0, 300)}`);
    },
  };
}
