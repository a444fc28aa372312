/** `castellan actors`: actors as a table, or one of them with its history. */
import { Command } from 'commander';
import type { ActorSummary, ActorView, HistoryPage } from '../protocol/control-plane.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { parseActorKey } from '../protocol/ids.ts';
import { controlPlaneClient, type ControlPlaneClient } from './control-plane-client.ts';
import { environmentWith } from './settings.ts';
import { age, jsonLine, printable, renderTable, valueText } from './table.ts';
import { transitionLine } from './events.ts';

const HISTORY_SHOWN = 20;

interface ActorsFlags {
  readonly type?: string;
  readonly state?: string;
  readonly longerThan?: string;
  readonly json?: boolean;
}

export function actorsCommand(): Command {
  return new Command('actors')
    .description('list actors, or show one')
    .argument('[actor]', 'an address such as node/gpu-1: show this one, its timers and its history')
    .option('--type <type>', 'only actors of this type')
    .option('--state <path>', 'only actors in this state, such as connection.online')
    .option('--longer-than <seconds>', 'only actors in the state for longer than this')
    .option('--json', 'JSON, for programs')
    .action(async (actor: string | undefined, flags: ActorsFlags) => {
      const client = await controlPlaneClient(environmentWith({}));
      await (actor === undefined ? list(client, flags) : show(client, actor, flags.json ?? false));
    });
}

async function list(client: ControlPlaneClient, { type, state, longerThan, json }: ActorsFlags): Promise<void> {
  const rows: (readonly string[])[] = [];
  for await (const actor of client.list<ActorSummary>('/api/actors', { type, state, inStateLongerThan: readSeconds(longerThan) })) {
    if (json) console.log(jsonLine(actor));
    else rows.push([`${actor.type}/${actor.id}`, valueText(actor.value), age(actor.enteredAt, Date.now()), actor.status, String(actor.revision)]);
  }
  if (!json) console.log(rows.length === 0 ? 'No actors.' : renderTable(['actor', 'state', 'since', 'status', 'revision'], rows));
}

async function show(client: ControlPlaneClient, address: string, json: boolean): Promise<void> {
  if (!address.includes('/')) throw new InvalidSettingError('actor', `is ${JSON.stringify(address.slice(0, 160))}; an address is type/id, such as node/gpu-1.`);
  const { type, id } = parseActorKey(address);
  const path = `/api/actors/${type}/${encodeURIComponent(id)}`;
  const actor = await client.get<ActorView>(path);
  const history = await client.get<HistoryPage>(`${path}/history`, { limit: HISTORY_SHOWN });
  if (json) return console.log(JSON.stringify({ ...actor, history: history.items }, null, 2));
  const now = Date.now();
  const facts = [
    ['actor', `${type}/${id}`],
    ['state', `${valueText(actor.value)} (for ${age(actor.enteredAt, now)})`],
    ['status', actor.parked === undefined ? actor.status : `parked: ${actor.parked}`],
    ['revision', `${actor.revision}, machine ${actor.machineVersion}`],
    ['tags', actor.tags.join(', ') || '-'],
    ['takes now', actor.nextEvents.join(', ') || '-'],
    ...actor.timers.map((timer) => ['timer', `${timer.id.slice(timer.id.indexOf('|') + 1)} due in ${Math.round((Date.parse(timer.dueAt) - now) / 1000)} s`]),
  ];
  console.log(facts.map(([name = '', value = '']) => `${name.padEnd(10)} ${printable(value)}`).join('\n'));
  console.log(`\n${history.items.map(transitionLine).join('\n')}`);
}

function readSeconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (!Number.isFinite(seconds) || seconds < 0) throw new InvalidSettingError('--longer-than', 'must be a number of seconds.');
  return Math.round(seconds * 1000);
}
