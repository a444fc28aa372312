/**
 * A person approves a code: which node the device is, and what becomes of an earlier device of the same machine.
 *
 * 1. A name belongs to one device. A wanted name that another device has, or a node of another organisation, gets a number behind it.
 * 2. A machine is one device in an organisation. Its earlier device is revoked as superseded, always: two tokens for one machine would be one
 *    too many. The new one takes over the name, unless the machine asked for a new identity (`force_new`) or the person chose one.
 * 3. First the name, then the earlier device, then the approval: who is interrupted in between approves again and comes to the same end.
 */
import type { Client } from '../engine/client.ts';
import type { DeviceView, ApprovalResult } from '../protocol/device.ts';
import type { Enrolment } from '../protocol/enrolment.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { hashOf } from '../provisioning/device-code.ts';
import { readOne, viewsOf, type DeviceReader } from './reading.ts';
import { isApproved } from './states.ts';
import { orgOfNode, type ReadDevice } from './views.ts';

export interface ApprovalPorts {
  readonly client: Pick<Client, 'sendAndWait'>;
  readonly reader: DeviceReader;
  readonly enrolment: Enrolment;
  /** Ends a device's tokens and tells its actor. */
  readonly revoke: (device: ReadDevice, by: string) => Promise<void>;
}

const NODE_ID = /^[a-zA-Z0-9._-]{1,64}$/;
/** Room for a number behind it. Characters. */
const NAME_LENGTH_MAX = 57;
/** Names tried before the device's own id stands behind it. */
const NUMBERS_MAX = 20;

export async function approve(
  ports: ApprovalPorts,
  device: ReadDevice,
  userHash: string,
  by: { readonly subject: string; readonly orgId: string },
  choice: { readonly nodeId?: string; readonly name?: string },
): Promise<ApprovalResult> {
  const { client, reader, enrolment } = ports;
  const { deviceId, context } = device;
  if (choice.nodeId !== undefined && !isNodeId(choice.nodeId)) return { kind: 'refused', reason: `The node id must match ${NODE_ID.source}.` };
  if (!isNodeId(by.orgId)) return { kind: 'refused', reason: 'Your token names no organisation that a node could belong to.' };

  const machine = context.machine === null ? undefined : hashOf(`${by.orgId} ${context.machine}`);
  const earlier = machine === undefined ? undefined : await earlierDevice(ports, machine, deviceId);
  const inherited = context.forceNew ? undefined : earlier?.context.nodeId;
  const wanted = choice.nodeId ?? inherited ?? context.seenAs ?? nameOf(context.hostname, deviceId);
  const names = await freeOfOthers(reader, candidates(wanted, deviceId), by.orgId, context.seenAs);
  const takesOver = choice.nodeId !== undefined || !context.forceNew;
  const nodeId = await enrolment.claimNode(deviceId, names, takesOver ? earlier?.deviceId : undefined);
  if (nodeId === undefined) return { kind: 'refused', reason: `The name ${wanted} and all like it are taken; choose another.` };

  if (earlier !== undefined) await ports.revoke(earlier, `${by.subject}: superseded by ${deviceId}`); // (2)
  const settled = await client.sendAndWait('device', deviceId, {
    type: 'approve',
    by: by.subject,
    orgId: by.orgId,
    nodeId,
    ...(choice.name === undefined || choice.name === '' ? {} : { name: choice.name }),
  });
  const approved = await readOne(reader, deviceId);
  if (settled.kind === 'ignored' || approved === undefined || !isApproved(approved.state))
    return { kind: 'refused', reason: `The device is ${approved?.state ?? 'gone'} by now.` };
  await enrolment.keepNode(deviceId, nodeId);
  if (machine !== undefined) await enrolment.setMachineDevice(machine, deviceId);
  await enrolment.closeUserCode(userHash);
  const [view] = await viewsOf(reader, [approved]);
  return { kind: 'approved', device: view as DeviceView };
}

async function earlierDevice({ reader, enrolment }: ApprovalPorts, machine: string, deviceId: string): Promise<ReadDevice | undefined> {
  const earlierId = await enrolment.machineDevice(machine);
  if (earlierId === undefined || earlierId === deviceId) return undefined;
  const earlier = await readOne(reader, earlierId);
  return earlier !== undefined && isApproved(earlier.state) ? earlier : undefined;
}

/**
 * Upholds (1) for nodes that are no devices: whoever has the name as a device's token could report for them. `own`: the node that showed
 * this device's code; it is the machine itself, whatever organisation it was counted in until now.
 */
async function freeOfOthers(reader: DeviceReader, names: readonly string[], orgId: string, own: string | null): Promise<readonly string[]> {
  const nodes = await reader.getActors(names.map((name): ActorKey => `node/${name}`));
  return names.filter((name, index) => {
    const stored = nodes[index];
    const org = stored === undefined ? undefined : orgOfNode(stored);
    return org === undefined || org === orgId || name === own;
  });
}

function candidates(wanted: string, deviceId: string): readonly string[] {
  const base = wanted.slice(0, NAME_LENGTH_MAX);
  const numbered = Array.from({ length: NUMBERS_MAX - 1 }, (_, index) => `${base}-${index + 2}`);
  return [wanted, ...numbered, `${base}-${deviceId.slice(0, 6)}`];
}

/** A host name as a node's id. */
function nameOf(hostname: string | null, deviceId: string): string {
  const name = (hostname ?? '')
    .replaceAll(/[^a-zA-Z0-9._-]+/g, '-')
    .replaceAll(/^[.-]+|[.-]+$/g, '')
    .slice(0, NAME_LENGTH_MAX);
  return isNodeId(name) ? name : `node-${deviceId.slice(0, 6)}`;
}

function isNodeId(text: string): boolean {
  return NODE_ID.test(text) && text !== '__proto__';
}
