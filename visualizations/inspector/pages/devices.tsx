/** All devices with their state and why. */
import { useSignal } from '@preact/signals';
import { duration } from '../../../src/http/pages/words.js';
import { api, type Failure } from '../../../src/http/pages/session.js';
import type { Page } from '../../../src/protocol/control-plane.ts';
import type { DeviceView } from '../../../src/protocol/device.ts';
import { Layout } from '../layout.tsx';
import { useLive, useNow } from '../live.ts';
import { failureText, SignedIn } from '../session.tsx';
import { deviceName, DeviceMark } from '../states.tsx';

const LIST_LIMIT = 200;
const PAUSE_MS = 5_000;

export function DevicesPage() {
  return (
    <Layout title="Devices" wide>
      <SignedIn>{() => <List />}</SignedIn>
    </Layout>
  );
}

function List() {
  const first = useLive<Page<DeviceView>>(`/api/v1/devices?limit=${LIST_LIMIT}`, () => PAUSE_MS);
  const later = useSignal<readonly DeviceView[]>([]);
  const next = useSignal<string | null | undefined>(undefined);
  const now = useNow();
  const page = first.value.value;
  const failure = first.failure.value;
  const cursor = next.value === undefined ? (page?.next ?? null) : next.value;
  const more = async () => {
    try {
      const following = await api<Page<DeviceView>>(`/api/v1/devices?limit=${LIST_LIMIT}&cursor=${encodeURIComponent(cursor ?? '')}`);
      later.value = [...later.value, ...following.items];
      next.value = following.next;
    } catch (error) {
      // A cursor that has gone: what was loaded after the first page is loaded again.
      later.value = [];
      next.value = (error as Failure).status === 410 ? undefined : cursor;
    }
  };
  const seen = new Set(page?.items.map(({ deviceId }) => deviceId));
  const devices = [...(page?.items ?? []), ...later.value.filter(({ deviceId }) => !seen.has(deviceId))];
  return (
    <>
      <p class="lost" role="alert">
        {failure === undefined ? null : failureText(failure)}
      </p>
      {page === undefined ? (
        failure === undefined && <p class="muted">Loading…</p>
      ) : devices.length === 0 ? (
        <section class="card" aria-labelledby="none">
          <h2 id="none">No device yet</h2>
          <p>
            On a new machine run <code>castellan init</code>. It shows a code; <a href="/device">enter it here</a>.
          </p>
        </section>
      ) : (
        <div class="scroll">
          <table class="still">
            <thead>
              <tr>
                <th scope="col">Device</th>
                <th scope="col">State</th>
                <th scope="col">Since</th>
                <th scope="col">Why</th>
                <th scope="col" class="number">
                  Revision
                </th>
              </tr>
            </thead>
            <tbody>
              {devices.map((device) => (
                <tr key={device.deviceId}>
                  <th scope="row">
                    <a href={`/devices/${encodeURIComponent(device.deviceId)}`}>{deviceName(device)}</a>
                  </th>
                  <td>
                    <DeviceMark state={device.state} />
                  </td>
                  <td title={device.since}>{duration(now - Date.parse(device.since))}</td>
                  <td class="reason">{device.reason}</td>
                  <td class="number">
                    <Revisions device={device} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {cursor === null ? null : (
        <p>
          <button type="button" onClick={() => void more()}>
            Show more
          </button>
        </p>
      )}
    </>
  );
}

function Revisions({ device: { desired, appliedRevision } }: { readonly device: DeviceView }) {
  if (desired === null) return <span class="muted">none</span>;
  if (desired.revision === appliedRevision) return <>{appliedRevision}</>;
  return (
    <>
      {appliedRevision ?? 'none'} <span class="muted">of {desired.revision}</span>
    </>
  );
}
