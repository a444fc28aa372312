/** `castellan start` with a control plane that only answers /health: what the test of start.ts runs, signals and looks at. */
import { createServer } from 'node:http';
import { startCommand } from '../../src/cli/start.ts';

const command = startCommand(async ({ host, port }) => {
  const server = createServer((_, response) => response.end('{"status":"healthy","uptime_seconds":1}'));
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  return {
    url: `http://${host}:${port}`,
    inspectorLink: `http://${host}:${port}/#link=once`,
    stop: async () => {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
});

await command.parseAsync([], { from: 'user' }).catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
