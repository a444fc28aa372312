/** A process that starts an agent, tells its pid and lives on: what the test of agent-process.ts kills. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { AgentProcess } from '../../src/cli/agent-process.ts';

const agent = new AgentProcess({
  nodeId: 'orphan',
  statusPort: 0,
  environment: process.env,
  cacheDir: join(tmpdir(), 'castellan-test-cache'),
  log: pino({ level: 'silent' }),
});
agent.start();
process.send?.(agent.pid);
