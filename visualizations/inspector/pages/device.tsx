/** One device at one look: its state and why, what is wanted and what runs, and how it came to this. */
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { changeText, duration, reasonOf, statedReason } from '../../../src/http/pages/words.js';
import { api, type Failure } from '../../../src/http/pages/session.js';
import type { HistoryPage } from '../../../src/protocol/control-plane.ts';
import type { DeviceView } from '../../../src/protocol/device.ts';
import type { ServiceOutcome } from '../../../src/protocol/device-config.ts';
import { Layout } from '../layout.tsx';
import { useLive, useNow } from '../live.ts';
import { failureText, mayChange, SignedIn, type Caller } from '../session.tsx';
import { deviceName, DeviceMark, isMoving, isOver, ServiceMark } from '../states.tsx';

/** Short while a person waits for something. */
const PAUSE_MOVING_MS = 1_000;
const PAUSE_MS = 5_000;
const HISTORY_LIMIT = 50;

export function DevicePage({ deviceId }: { readonly deviceId: string }) {
  const name = useSignal(deviceId);
  return (
    <Layout title={name.value}>
      <SignedIn>{(caller) => <Device deviceId={deviceId} caller={caller} named={(text) => (name.value = text)} />}</SignedIn>
    </Layout>
  );
}

interface DeviceProps {
  readonly deviceId: string;
  readonly caller: Caller;
  named(name: string): void;
}

function Device({ deviceId, caller, named }: DeviceProps) {
  const live = useLive<DeviceView>(`/api/v1/devices/${encodeURIComponent(deviceId)}`, (device) =>
    device !== undefined && isMoving(device) ? PAUSE_MOVING_MS : PAUSE_MS,
  );
  const now = useNow();
  const device = live.value.value;
  const failure = live.failure.value;
  const saved = useRef(Number(/^#saved-(\d+)$/.exec(location.hash)?.[1] ?? 0));
  useEffect(() => history.replaceState(null, '', location.pathname), []); // A page that is loaded again has saved nothing.
  useEffect(() => {
    if (device !== undefined) named(deviceName(device));
  }, [device]);

  if (device === undefined) {
    if (failure === undefined) return <p class="muted">Loading…</p>;
    return (
      <p class="card" role="alert">
        {failure.status === 404 ? 'There is no such device, or it belongs to another organisation.' : failureText(failure)}
      </p>
    );
  }
  const config = device.desired?.config;
  return (
    <>
      <p class="lost" role="alert">
        {failure === undefined ? null : `${failureText(failure)} What is shown may be old.`}
      </p>
      <section class="card" aria-label="State">
        {saved.current <= (device.appliedRevision ?? 0) ? null : <p class="done">Saved as revision {saved.current}.</p>}
        <div role="status">
          <p class="headline">
            <DeviceMark state={device.state} />
          </p>
          {device.reason === null ? null : <p>{device.reason}</p>}
        </div>
        <dl>
          <dt>For</dt>
          <dd title={device.since}>{duration(now - Date.parse(device.since))}</dd>
          <dt>Wanted</dt>
          <dd>{device.desired === null ? 'nothing yet' : `revision ${device.desired.revision}`}</dd>
          <dt>Runs</dt>
          <dd>{device.appliedRevision === null ? 'nothing of it yet' : `revision ${device.appliedRevision}`}</dd>
          <dt>Node</dt>
          <dd>{device.nodeId ?? 'not known before it is approved'}</dd>
          <dt>Host name</dt>
          <dd>{device.hostname ?? 'not told'}</dd>
          {config?.customTags === undefined || config.customTags.length === 0 ? null : (
            <>
              <dt>Tags</dt>
              <dd>{config.customTags.join(', ')}</dd>
            </>
          )}
          {device.approvedBy === null ? null : (
            <>
              <dt>Approved by</dt>
              <dd>{device.approvedBy}</dd>
            </>
          )}
        </dl>
        <p class="actions">
          {isOver(device.state) || device.state === 'pending' || !mayChange(caller) ? null : (
            <a class="button primary" href={`/devices/${encodeURIComponent(deviceId)}/setup`}>
              {device.desired === null ? 'Set up' : 'Change'}
            </a>
          )}
          {device.state === 'pending' ? <a href="/device">Approve it with its code</a> : null}
        </p>
      </section>
      <Services services={device.services} />
      <LastReport device={device} />
      <History deviceId={deviceId} revision={`${device.state} ${device.since}`} />
    </>
  );
}

function Services({ services }: { readonly services: readonly ServiceOutcome[] }) {
  return (
    <section class="card" aria-labelledby="services">
      <h2 id="services">Services</h2>
      {services.length === 0 ? <p class="muted">Its agent has reported none.</p> : null}
      <ul class="plain services" hidden={services.length === 0}>
        {services.map(({ name, phase, percent, message }) => (
          <li key={name}>
            <div class="row">
              <b>{name}</b>
              <span>
                <ServiceMark phase={phase} />
                {percent === undefined ? null : ` ${Math.round(percent)} %`}
              </span>
            </div>
            {percent === undefined ? null : <progress max={100} value={percent} aria-label={`${name}: ${Math.round(percent)} % pulled`} />}
            {message === undefined ? null : <LastLines service={name} text={message} />}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Scrolls, by keyboard too, and begins at the end: there stands why it failed. */
function LastLines({ service, text }: { readonly service: string; readonly text: string }) {
  const lines = useRef<HTMLPreElement>(null);
  useEffect(() => lines.current?.scrollTo(0, lines.current.scrollHeight), [text]);
  return (
    <pre ref={lines} tabIndex={0} role="region" aria-label={`Last lines of ${service}`}>
      {text}
    </pre>
  );
}

/** What the agent said about the configuration as a whole, and the device's reason does not tell already. */
function LastReport({ device: { report, reason } }: { readonly device: DeviceView }) {
  if (report === null) return null;
  const error = report.error !== undefined && reason?.includes(report.error.message) === true ? undefined : report.error;
  if (error === undefined && !report.unsupported?.length && !report.refused?.length) return null;
  return (
    <section class="card" aria-labelledby="report">
      <h2 id="report">What the node says</h2>
      {error === undefined ? null : (
        <p>
          {error.message}
          {error.field === undefined ? null : (
            <>
              {' '}
              (field <code>{error.field}</code>)
            </>
          )}
        </p>
      )}
      {report.unsupported?.length ? <p>It does not know: {report.unsupported.join(', ')}.</p> : null}
      {report.refused?.length ? <p>Its own policy refuses: {report.refused.join(', ')}.</p> : null}
    </section>
  );
}

/** Loaded when it is opened, and again after each change. */
function History({ deviceId, revision }: { readonly deviceId: string; readonly revision: string }) {
  const open = useSignal(false);
  const page = useSignal<HistoryPage | undefined>(undefined);
  const failure = useSignal<Failure | undefined>(undefined);
  const now = useNow();
  useEffect(() => {
    if (!open.value) return;
    api<HistoryPage>(`/api/actors/device/${encodeURIComponent(deviceId)}/history?limit=${HISTORY_LIMIT}`).then(
      (read) => {
        page.value = read;
        failure.value = undefined;
      },
      (error: Failure) => (failure.value = error),
    );
  }, [open.value, revision]);
  return (
    <details class="card" onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary>
        <h2>History</h2>
      </summary>
      {failure.value === undefined ? null : <p role="alert">{failureText(failure.value)}</p>}
      <ol class="history">
        {page.value?.items.map((transition) => (
          <li key={transition.revision}>
            <b>{changeText(transition)}</b>
            <div>{statedReason(transition)}</div>
            <div class="muted" title={transition.at}>
              {reasonOf(transition)} · revision {transition.revision} · {duration(now - Date.parse(transition.at))} ago
            </div>
          </li>
        ))}
      </ol>
      {page.value?.truncated ? <p class="muted">What was before has been trimmed.</p> : null}
    </details>
  );
}
