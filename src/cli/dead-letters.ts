/** `castellan dead-letters`: what was refused and why; `replay` sends one again. */
import { Command } from 'commander';
import type { DeadLetterView } from '../protocol/control-plane.ts';
import { controlPlaneClient } from './control-plane-client.ts';
import { environmentWith } from './settings.ts';
import { age, jsonLine, renderTable } from './table.ts';

const REASON_SHOWN = 80;

export function deadLettersCommand(): Command {
  return new Command('dead-letters')
    .description('list refused entries with their reasons')
    .option('--json', 'one JSON object a line, for programs')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const client = await controlPlaneClient(environmentWith({}));
      const rows: (readonly string[])[] = [];
      for await (const letter of client.list<DeadLetterView>('/api/dead-letters')) {
        if (json) console.log(jsonLine(letter));
        else rows.push([letter.id, age(letter.at, Date.now()), letter.source, letter.code, letter.field ?? '-', letter.reason.slice(0, REASON_SHOWN)]);
      }
      if (!json) console.log(rows.length === 0 ? 'No dead letters.' : renderTable(['id', 'age', 'source', 'code', 'field', 'reason'], rows));
    })
    .addCommand(
      new Command('replay')
        .description('send a refused event again')
        .argument('<id>', 'as the list shows it')
        .action(async (id: string) => {
          const client = await controlPlaneClient(environmentWith({}));
          const { entry } = await client.post<{ readonly entry: string }>(`/api/dead-letters/${encodeURIComponent(id)}/replay`);
          console.log(`Sent again as entry ${entry}.`);
        }),
    );
}
