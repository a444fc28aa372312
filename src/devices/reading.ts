/**
 * Devices by id, and by state and organisation in pages.
 *
 * 1. A state is read from its index, without one all devices are, by creation. What the index does not know is filtered on reading,
 *    so a page may hold fewer than asked for, or none, and still have a next one. A call looks at a bounded number of devices.
 */
import type { ActorReader } from '../engine/read-ports.ts';
import type { Page, PageQuery } from '../protocol/control-plane.ts';
import type { DeviceState, DeviceView } from '../protocol/device.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { pathOf } from './states.ts';
import { deviceView, offlineSince, readDevice, type ReadDevice } from './views.ts';

export type DeviceReader = Pick<ActorReader, 'getActor' | 'getActors' | 'listActors'>;

const DEVICE_ID = /^[a-z2-7]{20}$/;
/** Devices looked at for one page, and reads of the index. (1) */
const SCAN_MAX = 5_000;
const READS_MAX = 50;

/** Undefined for what is no device's id, too. */
export async function readOne(reader: DeviceReader, deviceId: string): Promise<ReadDevice | undefined> {
  if (!DEVICE_ID.test(deviceId)) return undefined;
  const stored = await reader.getActor(`device/${deviceId}`);
  return stored === undefined ? undefined : readDevice(stored);
}

export async function viewsOf(reader: DeviceReader, devices: readonly ReadDevice[]): Promise<readonly DeviceView[]> {
  const away = devices.flatMap(({ context }): ActorKey[] => (context.node === 'offline' && context.nodeId !== null ? [`node/${context.nodeId}`] : []));
  const nodes = away.length === 0 ? [] : await reader.getActors(away);
  const since = new Map(nodes.flatMap((node) => (node === undefined ? [] : [[node.key, offlineSince(node)] as const])));
  return devices.map((device) => deviceView(device, since.get(`node/${device.context.nodeId ?? ''}`)));
}

export async function listDevices(
  reader: DeviceReader,
  { state, orgId, limit, cursor }: PageQuery & { readonly state?: DeviceState; readonly orgId?: string },
): Promise<Page<DeviceView>> {
  const found: ReadDevice[] = [];
  let next: string | null = cursor ?? null;
  let scanned = 0;
  for (let reads = 0; reads < READS_MAX && scanned < SCAN_MAX; reads++) {
    const listed = await reader.listActors({
      type: 'device',
      limit: limit - found.length,
      ...(state === undefined ? {} : { statePath: pathOf(state) }),
      ...(next === null ? {} : { cursor: next }),
    });
    scanned += listed.items.length;
    for (const stored of await reader.getActors(listed.items.map(({ key }) => key))) {
      const device = stored === undefined ? undefined : readDevice(stored);
      if (device === undefined || (state !== undefined && device.state !== state)) continue;
      if (orgId === undefined || device.context.orgId === orgId) found.push(device);
    }
    ({ next } = listed);
    if (next === null || found.length >= limit) break;
  }
  return { items: await viewsOf(reader, found), next };
}
