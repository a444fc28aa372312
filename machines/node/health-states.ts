/**
 * The health of a node: what its readings amount to. A region of the node's machine; its guards and actions stand there.
 *
 * Each change is told to the device that the node is, and so is the present state when a device makes itself known.
 */
import type { HealthThresholds } from './settings.ts';

/** What a person reads in the inspector: what the state means and what ends it. */
export function described(description: string) {
  return { description };
}

export function healthStates(health: HealthThresholds) {
  return {
    id: 'health',
    type: 'parallel',
    states: {
      services: {
        initial: 'ok',
        states: {
          ok: {
            meta: described('No service is reported as failed or degraded.'),
            tags: ['services-ok'],
            on: {
              device: { actions: 'tellServicesOk' },
              status: [
                { guard: { type: 'services', params: { are: 'failed' } }, target: 'failed', actions: 'tellServicesFailed' },
                { guard: { type: 'services', params: { are: 'degraded' } }, target: 'degraded', actions: 'tellServicesDegraded' },
              ],
            },
          },
          degraded: {
            meta: described('A service works, but not well. The next status decides anew.'),
            tags: ['attention'],
            on: {
              device: { actions: 'tellServicesDegraded' },
              status: [
                { guard: { type: 'services', params: { are: 'failed' } }, target: 'failed', actions: 'tellServicesFailed' },
                { guard: { type: 'services', params: { are: 'ok' } }, target: 'ok', actions: 'tellServicesOk' },
              ],
            },
          },
          failed: {
            meta: described('A service is in error or unhealthy. The next status decides anew.'),
            tags: ['attention'],
            on: {
              device: { actions: 'tellServicesFailed' },
              status: [
                { guard: { type: 'services', params: { are: 'ok' } }, target: 'ok', actions: 'tellServicesOk' },
                { guard: { type: 'services', params: { are: 'degraded' } }, target: 'degraded', actions: 'tellServicesDegraded' },
              ],
            },
          },
        },
      },
      gpu: {
        initial: 'normal',
        states: {
          normal: {
            meta: described(`No GPU is hot. High at ${health.gpuHighCelsius} °C.`),
            tags: ['gpu-ok'],
            on: { status: { guard: 'gpuHot', target: 'high', actions: 'tellGpuHigh' }, device: { actions: 'tellGpuNormal' } },
          },
          high: {
            meta: described(`A GPU is hot. Normal again below ${health.gpuNormalCelsius} °C.`),
            tags: ['attention'],
            on: { status: { guard: 'gpuCool', target: 'normal', actions: 'tellGpuNormal' }, device: { actions: 'tellGpuHigh' } },
          },
        },
      },
      disk: {
        initial: 'ok',
        states: {
          ok: {
            meta: described(`The disk has room. Low at ${health.diskLowPercent} % used.`),
            tags: ['disk-ok'],
            on: { status: { guard: 'diskFull', target: 'low' } },
          },
          low: {
            meta: described(`The disk is nearly full. Ok again below ${health.diskOkPercent} % used.`),
            tags: ['attention'],
            on: { status: { guard: 'diskRoomy', target: 'ok' } },
          },
        },
      },
    },
  } as const;
}
