/**
 * The onboarding form: what a device is called, runs and tells. Saved as its desired configuration, under the next revision.
 *
 * 1. A refusal is shown at its field, which gets the focus; what was entered stays.
 * 2. Who saves over a revision that somebody else made meanwhile is told so before.
 */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { api, json, type Failure } from '../../../src/http/pages/session.js';
import type { CatalogueItem } from '../../../src/protocol/catalogue-item.ts';
import type { NodeView } from '../../../src/protocol/control-plane.ts';
import type { DeviceView } from '../../../src/protocol/device.ts';
import { CheckField, SelectField, TextField } from '../controls.tsx';
import { Layout } from '../layout.tsx';
import { useLive } from '../live.ts';
import { roomOf, togetherOf, type NodeRoom } from '../node-room.ts';
import { ServiceChoices } from '../service-choice.tsx';
import { failureText, mayChange, SignedIn } from '../session.tsx';
import { chosenServices, configOf, faultOf, SERVICES_CONTROL, valuesOf, type Fault, type SetupValues } from '../setup-model.ts';
import { deviceName, isOver } from '../states.tsx';

const PAUSE_MS = 5_000;

export function SetupPage({ deviceId }: { readonly deviceId: string }) {
  return (
    <Layout title="Set up a device">
      <SignedIn>
        {(caller) =>
          mayChange(caller) ? (
            <Setup deviceId={deviceId} />
          ) : (
            <p role="alert" class="card">
              Setting up a device needs the role “operator”; this session has “{caller.role}”.
            </p>
          )
        }
      </SignedIn>
    </Layout>
  );
}

interface Surroundings {
  readonly catalogue: readonly CatalogueItem[];
  readonly room: NodeRoom | undefined;
}

function Setup({ deviceId }: { readonly deviceId: string }) {
  const live = useLive<DeviceView>(`/api/v1/devices/${encodeURIComponent(deviceId)}`, () => PAUSE_MS);
  const around = useSignal<Surroundings | Failure | undefined>(undefined);
  const device = live.value.value;
  const nodeId = device?.nodeId;
  useEffect(() => {
    if (nodeId === undefined) return;
    void surroundings(nodeId).then(
      (found) => (around.value = found),
      (error: Failure) => (around.value = error),
    );
  }, [nodeId]);

  const failure = around.value instanceof Error ? around.value : device === undefined ? live.failure.value : undefined;
  if (failure !== undefined)
    return (
      <p class="card" role="alert">
        {failure.status === 404 ? 'There is no such device, or it belongs to another organisation.' : failureText(failure)}
      </p>
    );
  if (device === undefined || around.value === undefined) return <p class="muted">Loading…</p>;
  if (isOver(device.state) || device.state === 'pending')
    return (
      <p class="card" role="alert">
        {device.state === 'pending' ? (
          <>
            This device waits for approval: <a href="/device">enter its code</a> first.
          </>
        ) : (
          `This device is ${device.state} and takes no configuration. Run “castellan init” on it again.`
        )}
      </p>
    );
  return <SetupForm device={device} {...(around.value as Surroundings)} />;
}

async function surroundings(nodeId: string | null): Promise<Surroundings> {
  const [catalogue, node] = await Promise.all([
    api<{ readonly items: readonly CatalogueItem[] }>('/api/v1/catalogue'),
    // A node that has not reported yet is none that is known.
    nodeId === null ? undefined : api<NodeView>(`/api/fabric/nodes/${encodeURIComponent(nodeId)}`).catch(() => undefined),
  ]);
  return { catalogue: catalogue.items, room: roomOf(node) };
}

function SetupForm({ device, catalogue, room }: Surroundings & { readonly device: DeviceView }) {
  const base = useSignal(device);
  const values = useSignal<SetupValues>(valuesOf(device.desired?.config, device.name));
  const fault = useSignal<Fault | undefined>(undefined);
  const busy = useSignal(false);
  const saved = base.value.desired?.config;
  const set = (change: Partial<SetupValues>) => (values.value = { ...values.value, ...change });
  const faultAt = (control: string) => (fault.value?.control === control ? fault.value.text : undefined);
  const newer = (device.desired?.revision ?? 0) > (base.value.desired?.revision ?? 0) && !busy.value;

  useEffect(() => {
    if (fault.value === undefined) return;
    const control = fault.value.control === undefined ? null : document.getElementById(fault.value.control);
    (control ?? document.getElementById('setup-fault'))?.focus(); // (1)
  }, [fault.value]);

  const save = async () => {
    const config = configOf(values.value, catalogue, saved);
    busy.value = true;
    fault.value = undefined;
    try {
      const answer = await api<DeviceView>(`/api/v1/devices/${encodeURIComponent(device.deviceId)}/config`, json('PUT', config));
      location.assign(`/devices/${encodeURIComponent(device.deviceId)}#saved-${answer.desired?.revision ?? ''}`);
    } catch (error) {
      const failure = error as Failure;
      const named = failure.status === 422 || failure.status === 400;
      const found = faultOf(named ? failure.field : undefined, named ? failure.message : failureText(failure), config, catalogue);
      // A field that the form does not show is named.
      const known = found.control !== undefined && document.getElementById(found.control) !== null;
      fault.value = known ? found : { control: undefined, text: failure.field === undefined ? found.text : failure.message };
      busy.value = false;
    }
  };

  const chosen = chosenServices(values.value);
  const savedServices = (saved?.services ?? []).map(({ name }) => name);
  const together = togetherOf(
    catalogue.filter(({ name }) => chosen.includes(name)),
    savedServices,
    room,
  );
  const stopsAll = values.value.replaceServices && chosen.length === 0;
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      {newer ? (
        // (2)
        <p class="lost" role="alert">
          Revision {device.desired?.revision} was saved meanwhile. <a href={location.pathname}>Load it</a>; saving this form now replaces it.
        </p>
      ) : null}
      <section class="card" aria-labelledby="about">
        <h2 id="about">{deviceName(device)}</h2>
        <TextField
          id="deviceName"
          label="Name"
          hint="What people call it. Empty: it keeps the name it has."
          fault={faultAt('deviceName')}
          value={values.value.deviceName}
          placeholder={device.hostname ?? ''}
          onValue={(name) => set({ deviceName: name })}
        />
        <TextField
          id="customTags"
          label="Tags"
          hint="Separated by commas, such as gpu, lab. Jobs can ask for a node with a tag."
          fault={faultAt('customTags')}
          value={values.value.customTags}
          onValue={(tags) => set({ customTags: tags })}
        />
      </section>

      <section class="card" aria-labelledby="services-title">
        <h2 id="services-title">Services</h2>
        {room === undefined ? <p class="hint">This node has not reported yet: whether it has what a service needs is not known.</p> : null}
        <p class="fault" id={SERVICES_CONTROL} tabIndex={-1}>
          {faultAt(SERVICES_CONTROL)}
        </p>
        <ServiceChoices
          catalogue={catalogue}
          room={room}
          saved={savedServices}
          values={values.value}
          fault={fault.value}
          onService={(name, service) => set({ services: { ...values.value.services, [name]: service } })}
        />
        <fieldset>
          <legend>How</legend>
          <CheckField
            id="autoStartServices"
            label="Start them by themselves"
            hint="Otherwise the choice is only kept on the node."
            fault={faultAt('autoStartServices')}
            checked={values.value.autoStartServices}
            onValue={(start) => set({ autoStartServices: start })}
          />
          <CheckField
            id="replaceServices"
            label="Stop services that are not chosen"
            hint="Otherwise services are only added."
            fault={faultAt('replaceServices')}
            checked={values.value.replaceServices}
            onValue={(replace) => set({ replaceServices: replace })}
          />
        </fieldset>
        <p role="status" class="together">
          {stopsAll ? (
            'No service is chosen: saving stops every service on this device.'
          ) : chosen.length === 0 ? (
            'No service is chosen.'
          ) : (
            <span class={together.fits ? undefined : 'state degraded'}>{together.text}</span>
          )}
        </p>
      </section>

      <section class="card" aria-labelledby="alerts">
        <h2 id="alerts">Alerts</h2>
        <CheckField
          id="alertOnOffline"
          label="When it goes offline"
          fault={faultAt('alertOnOffline')}
          checked={values.value.alertOnOffline}
          onValue={(on) => set({ alertOnOffline: on })}
        />
        <CheckField
          id="healthMonitoringEnabled"
          label="When its health is degraded"
          hint="Watches its disk, memory and services."
          fault={faultAt('healthMonitoringEnabled')}
          checked={values.value.healthMonitoringEnabled}
          onValue={(on) => set({ healthMonitoringEnabled: on })}
        />
        <SelectField
          id={values.value.alertOnHighTemp === 'at' ? 'alertOnHighTempKind' : 'alertOnHighTemp'}
          label="When a GPU gets hot"
          fault={faultAt('alertOnHighTemp') !== undefined && values.value.alertOnHighTemp !== 'at' ? faultAt('alertOnHighTemp') : undefined}
          value={values.value.alertOnHighTemp}
          options={[
            ['off', 'no'],
            ['default', 'at the node’s own threshold'],
            ['at', 'at a temperature'],
          ]}
          onValue={(kind) => set({ alertOnHighTemp: kind as SetupValues['alertOnHighTemp'] })}
        />
        {values.value.alertOnHighTemp === 'at' ? (
          <TextField
            id="alertOnHighTemp"
            label="Temperature in °C"
            fault={faultAt('alertOnHighTemp')}
            value={values.value.temperature}
            placeholder="85"
            numeric
            onValue={(temperature) => set({ temperature })}
          />
        ) : null}
      </section>

      <p class="fault" id="setup-fault" role="alert" tabIndex={-1}>
        {fault.value === undefined ? null : fault.value.control === undefined ? fault.value.text : 'Not saved: see the field that is marked.'}
      </p>
      <div class="actions">
        <button class="primary" disabled={busy.value}>
          {stopsAll ? 'Save and stop all services' : 'Save'}
        </button>
        <a href={`/devices/${encodeURIComponent(device.deviceId)}`}>Cancel</a>
      </div>
    </form>
  );
}
