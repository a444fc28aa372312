/** One incident from its first notice to its last. */
import { describe, expect, it } from 'vitest';
import { alertType } from '../../machines/alert/definition.ts';
import { given } from '../../src/testing/index.ts';

const MINUTE = 60_000;
const condition = (on: boolean, holdMs = MINUTE, reason = 'a GPU is at 91 °C') => ({
  type: 'condition',
  on,
  nodeId: 'n1',
  orgId: 'acme',
  kind: 'high-temperature',
  reason,
  holdMs,
});

describe('an alert', () => {
  it('fires when the trouble has lasted, once, and is resolved once', () => {
    const alert = given(alertType(), { id: 'n1.high-temperature' })
      .when(condition(true))
      .after(MINUTE - 1);
    expect(alert.value).toBe('holding');
    alert.after(1);
    const notice = { incident: 'n1.high-temperature-1', phase: 'firing', nodeId: 'n1', orgId: 'acme', kind: 'high-temperature', reason: 'a GPU is at 91 °C' };
    expect(alert.commands).toEqual(['publishAlert', 'notifyAlert'].map((name) => ({ name, params: notice })));
    expect(alert.when(condition(true)).outcome).toBe('ignored');
    alert.when(condition(false, MINUTE, 'no GPU is too hot'));
    const resolved = { ...notice, phase: 'resolved', reason: 'no GPU is too hot' };
    expect(alert.commands).toEqual(['publishAlert', 'notifyAlert'].map((name) => ({ name, params: resolved })));
    expect(alert.when(condition(false)).outcome).toBe('ignored');
  });

  it('says nothing of trouble that passes', () => {
    const alert = given(alertType(), { id: 'n1.high-temperature' })
      .when(condition(true))
      .after(MINUTE / 2)
      .when(condition(false))
      .after(10 * MINUTE);
    expect([alert.value, alert.commands, alert.timers]).toEqual(['quiet', [], []]);
  });

  it('gives the next incident another id, and may fire at once', () => {
    const alert = given(alertType(), { id: 'n1.offline' }).when(condition(true, 0)).when(condition(false)).when(condition(true, 0));
    expect(alert.commands).toMatchObject([{}, { params: { incident: 'n1.offline-2', phase: 'firing' } }]);
  });
});
