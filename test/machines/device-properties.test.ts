/** Whatever comes in whatever order: what must be true of a device after each of its events. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceContext } from '../../machines/device/context.ts';
import { deviceType } from '../../machines/device/definition.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import { APPLY_PHASES, SERVICE_PHASES } from '../../src/protocol/device-config.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import { MachineTestError } from '../../src/protocol/errors.ts';
import type { Json } from '../../src/protocol/json.ts';
import { given, type TestActor } from '../../src/testing/index.ts';

const node = fc.constantFrom('gpu-1', 'gpu-1', 'gpu-1', 'evil');
/** Stands for the revision that is desired when the report comes. */
const PRESENT = -1;
const revision = fc.oneof({ weight: 3, arbitrary: fc.constant(PRESENT) }, { weight: 1, arbitrary: fc.constantFrom(null, 0, 1, 9) });
const services = fc.array(fc.record({ name: fc.constantFrom('a', 'b'), phase: fc.constantFrom(...SERVICE_PHASES), message: fc.string() }), { maxLength: 3 });
const config = fc.record(
  {
    services: fc.array(fc.record({ name: fc.constantFrom('a', 'b', 'c') }), { maxLength: 2 }),
    replaceServices: fc.boolean(),
    alertOnOffline: fc.boolean(),
    alertOnHighTemp: fc.constantFrom(true, false, 70),
    healthMonitoringEnabled: fc.boolean(),
  },
  { requiredKeys: [] },
);
const arrives = fc.oneof(
  fc.constant({ type: 'request', clientId: 'c', address: 'x', lifetimeMs: 600_000 }),
  fc.record({ type: fc.constant('approve'), by: fc.constant('ada'), orgId: fc.constant('acme'), nodeId: fc.constant('gpu-1') }),
  fc.constant({ type: 'redeemed' }),
  fc.record({ type: fc.constant('seen'), nodeId: node, orgId: fc.constant('acme') }),
  fc.record({ type: fc.constant('nodeState'), nodeId: node, state: fc.constantFrom('online', 'degraded', 'offline', 'unknown') }),
  fc.record({ type: fc.constant('nodeHealth'), nodeId: node, services: fc.constantFrom('ok', 'degraded'), gpu: fc.constantFrom('normal', 'high') }),
  fc.record({ type: fc.constant('configure'), by: fc.constant('ada'), config }),
  fc.record({
    type: fc.constant('report'),
    nodeId: node,
    phase: fc.constantFrom(...APPLY_PHASES),
    desiredRevision: revision,
    appliedRevision: revision,
    services,
  }),
  fc.record({ type: fc.constant('wait'), ms: fc.integer({ min: 0, max: 2_000_000 }) }),
);
const ends = fc.constantFrom({ type: 'deny', by: 'ada' }, { type: 'revoke', by: 'ada' });
const event = fc.oneof({ weight: 60, arbitrary: arrives }, { weight: 1, arbitrary: ends });
const enrolled: readonly object[] = [
  { type: 'request', clientId: 'c', address: 'x', lifetimeMs: 600_000 },
  { type: 'approve', by: 'ada', orgId: 'acme', nodeId: 'gpu-1' },
];
const operating: readonly object[] = [
  ...enrolled,
  { type: 'seen', nodeId: 'gpu-1', orgId: 'acme' },
  { type: 'configure', by: 'ada', config: { alertOnOffline: true, alertOnHighTemp: true, healthMonitoringEnabled: true } },
];
/** Most that can happen happens to a device that is in operation. */
const beginning = fc.constantFrom([], enrolled, operating, operating, operating);

const type = registerActorType(deviceType());

describe('a device', () => {
  it('explains itself, numbers what it pushes, and tells each condition once', () => {
    fc.assert(
      fc.property(beginning, fc.array(event, { maxLength: 40 }), (first, rest) => {
        const device = given(type, { id: 'd1' });
        const on = new Set<string>();
        let newest = 0;
        for (const each of [...first, ...rest] as unknown as (MachineEvent & { ms?: number })[]) {
          try {
            if (each.type === 'wait') device.after(each.ms ?? 0);
            else device.when(presented(each, newestOf(device)));
          } catch (error) {
            // Refused with a reason: its state is as it was. Anything else is a fault of the machine.
            expect(error).toBeInstanceOf(MachineTestError);
            expect((error as Error).message).toMatch(/\((unknown_device|wrong_node)\)/);
            continue;
          }
          if (!device.exists) continue;
          for (const { to, event: told } of device.messages) {
            if (to.startsWith('config/')) {
              const { revision: pushed } = told as unknown as { revision: number };
              expect(pushed).toBeGreaterThanOrEqual(newest);
              newest = pushed;
            }
            if (to.startsWith('alert/')) {
              const { on: begins } = told as unknown as { on: boolean };
              expect(on.has(to)).toBe(!begins);
              if (begins) on.add(to);
              else on.delete(to);
            }
          }
          const [state] = device.states;
          const { reason, desired } = device.context as unknown as DeviceContext & { [field: string]: Json };
          if (state !== 'active.servicesRunning' && state !== 'unclaimed') expect(reason, state).toEqual(expect.any(String));
          if (desired !== null) expect(desired.revision).toBeGreaterThanOrEqual(newest);
          if (state === 'revoked') expect([...on]).toEqual([]);
          if (state !== 'active.configuring' && state !== 'pending') expect(device.timers, state).toEqual([]);
        }
      }),
      { numRuns: 300 },
    );
  });
});

function newestOf(device: TestActor): number | null {
  return device.exists ? ((device.context as unknown as DeviceContext).desired?.revision ?? null) : null;
}

function presented(report: MachineEvent, present: number | null): MachineEvent {
  if (report.type !== 'report') return report;
  const { desiredRevision, appliedRevision } = report;
  const of = (number: Json | undefined): Json => (number === PRESENT ? present : (number ?? null));
  return { ...report, desiredRevision: of(desiredRevision), appliedRevision: of(appliedRevision) };
}
