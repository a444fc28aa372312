/**
 * Approval of a device (RFC 8628, 3.3): a person compares the code on the device's screen, sees who asks, and decides.
 *
 * 1. Nothing happens by opening a link: not even the code is looked up before the person says so.
 * 2. A code that came in the link and was not typed must be confirmed to stand on the device's own screen (RFC 8628, 5.4: remote phishing).
 */
import { useSignal, type Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { duration } from '../../../src/http/pages/words.js';
import { api, json, type Failure } from '../../../src/http/pages/session.js';
import type { PendingEnrolment } from '../../../src/protocol/device.ts';
import { Layout } from '../layout.tsx';
import { useNow } from '../live.ts';
import { failureText, mayChange, SignedIn } from '../session.tsx';
import { codeFault, shownCode } from '../user-code.ts';

type Step =
  | { readonly kind: 'code' }
  | { readonly kind: 'decide'; readonly code: string; readonly typed: boolean; readonly pending: PendingEnrolment }
  | { readonly kind: 'approved'; readonly deviceId: string; readonly name: string }
  | { readonly kind: 'denied'; readonly name: string };

const START_AGAIN = 'It may have expired or been used. Run “castellan init” on the device again for a new one.';

export function ApprovePage({ code }: { readonly code: string }) {
  return (
    <Layout title="Approve a device">
      <SignedIn>
        {(caller) =>
          mayChange(caller) ? (
            <Approval linked={code} />
          ) : (
            <p role="alert" class="card">
              Approving a device needs the role “operator”; this session has “{caller.role}”.
            </p>
          )
        }
      </SignedIn>
    </Layout>
  );
}

function Approval({ linked }: { readonly linked: string }) {
  const step = useSignal<Step>({ kind: 'code' });
  const now = step.value;
  switch (now.kind) {
    case 'code':
      return <CodeForm linked={linked} step={step} />;
    case 'decide':
      return <Decision {...now} step={step} />;
    case 'approved':
      return (
        <Outcome title="Approved">
          <p>
            <b>{now.name}</b> now gets its credentials by itself. Next, choose what it runs.
          </p>
          <p>
            <a class="button primary" href={`/devices/${encodeURIComponent(now.deviceId)}/setup`}>
              Set up this device
            </a>
          </p>
        </Outcome>
      );
    case 'denied':
      return (
        <Outcome title="Denied">
          <p>
            <b>{now.name}</b> gets no access. If you did not expect its request, nothing more is needed.
          </p>
          <p>
            <a href="/devices">Devices</a>
          </p>
        </Outcome>
      );
  }
}

function CodeForm({ linked, step }: { readonly linked: string; readonly step: Signal<Step> }) {
  const code = useSignal(shownCode(linked));
  const typed = useSignal(linked === '');
  const fault = useSignal<string | null>(null);
  const busy = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  const refuse = (why: string) => {
    fault.value = why;
    input.current?.focus();
  };
  const find = async () => {
    const why = codeFault(code.value);
    if (why !== undefined) return refuse(why);
    busy.value = true;
    fault.value = null;
    try {
      const pending = await api<PendingEnrolment>(`/api/v1/enrolments/${encodeURIComponent(shownCode(code.value))}`);
      step.value = { kind: 'decide', code: shownCode(code.value), typed: typed.value, pending };
    } catch (error) {
      const failure = error as Failure;
      refuse(failure.status === 404 ? `No device waits with this code. ${START_AGAIN}` : failureText(failure));
    } finally {
      busy.value = false;
    }
  };
  return (
    <form
      class="card"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void find();
      }}
    >
      <label for="code">Code on the device’s screen</label>
      <input
        id="code"
        ref={input}
        class="code"
        value={code.value}
        onInput={(event) => {
          code.value = event.currentTarget.value;
          typed.value = true;
        }}
        placeholder="XXXX-XXXX"
        autocomplete="off"
        autocapitalize="characters"
        spellcheck={false}
        aria-describedby="code-hint code-fault"
        aria-invalid={fault.value === null ? undefined : 'true'}
      />
      <p id="code-hint" class="hint">
        Eight letters, shown by “castellan init”. Only go on if you started this on a machine of your own.
      </p>
      <p id="code-fault" class="fault" role="alert">
        {fault.value}
      </p>
      <button class="primary" disabled={busy.value}>
        Continue
      </button>
    </form>
  );
}

function Decision({ code, typed, pending, step }: Extract<Step, { kind: 'decide' }> & { readonly step: Signal<Step> }) {
  const name = useSignal('');
  const seen = useSignal(typed);
  const fault = useSignal<{ readonly at: 'seen' | 'name' | 'form'; readonly text: string } | null>(null);
  const busy = useSignal(false);
  const heading = useRef<HTMLHeadingElement>(null);
  const left = Date.parse(pending.expiresAt) - useNow();
  useEffect(() => heading.current?.focus(), []);

  const shown = name.value.trim() || pending.hostname || 'The device';
  const decide = async (decision: 'approve' | 'deny') => {
    if (decision === 'approve' && !seen.value) {
      fault.value = { at: 'seen', text: 'Compare the code first, and confirm that the device shows it.' };
      document.getElementById('seen')?.focus();
      return;
    }
    busy.value = true;
    fault.value = null;
    const choice = decision === 'approve' && name.value.trim() !== '' ? { name: name.value.trim() } : {};
    try {
      await api(`/api/v1/enrolments/${encodeURIComponent(code)}/${decision}`, json('POST', choice));
      step.value = decision === 'deny' ? { kind: 'denied', name: shown } : { kind: 'approved', deviceId: pending.deviceId, name: shown };
    } catch (error) {
      const failure = error as Failure;
      const gone = failure.status === 404 || failure.status === 410;
      const at = failure.field?.endsWith('name') === true ? 'name' : 'form';
      fault.value = { at, text: gone ? `This code is not waiting any more. ${START_AGAIN}` : failureText(failure) };
      if (at === 'name') document.getElementById('name')?.focus();
    } finally {
      busy.value = false;
    }
  };
  const faultAt = (at: string) => (fault.value?.at === at ? fault.value.text : null);

  return (
    <form
      class="card"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void decide('approve');
      }}
    >
      <h2 ref={heading} tabIndex={-1}>
        Is this your device?
      </h2>
      <dl>
        <dt>Code</dt>
        <dd class="code">{code}</dd>
        <dt>Host name</dt>
        <dd>{pending.hostname ?? 'not told'}</dd>
        <dt>Address</dt>
        <dd>{pending.address}</dd>
        <dt>Asked</dt>
        <dd>
          <time dateTime={pending.requestedAt} title={pending.requestedAt}>
            {new Date(pending.requestedAt).toLocaleString()}
          </time>
        </dd>
        <dt>Client</dt>
        <dd>{pending.clientId}</dd>
      </dl>
      {left > 0 ? <p class="hint">The code expires in {duration(left)}.</p> : null}
      <p class="fault" role="alert">
        {left > 0 ? null : `This code has expired. ${START_AGAIN}`}
      </p>
      <label for="name">
        Name for it <span class="muted">(optional)</span>
      </label>
      <input
        id="name"
        value={name.value}
        onInput={(event) => (name.value = event.currentTarget.value)}
        placeholder={pending.hostname ?? ''}
        maxLength={128}
        autocomplete="off"
        aria-describedby="name-fault"
        aria-invalid={faultAt('name') === null ? undefined : 'true'}
      />
      <p id="name-fault" class="fault" role="alert">
        {faultAt('name')}
      </p>
      {typed ? null : (
        <>
          <label class="check">
            <input
              id="seen"
              type="checkbox"
              checked={seen.value}
              onChange={(event) => (seen.value = event.currentTarget.checked)}
              aria-describedby="seen-fault"
              aria-invalid={faultAt('seen') === null ? undefined : 'true'}
            />
            The device in front of me shows this code
          </label>
          <p id="seen-fault" class="fault" role="alert">
            {faultAt('seen')}
          </p>
        </>
      )}
      <p class="fault" role="alert">
        {faultAt('form')}
      </p>
      <div class="actions">
        <button class="primary" disabled={busy.value || left <= 0}>
          Approve
        </button>
        <button type="button" disabled={busy.value || left <= 0} onClick={() => void decide('deny')}>
          Deny
        </button>
        <button type="button" class="link" onClick={() => (step.value = { kind: 'code' })}>
          Another code
        </button>
      </div>
    </form>
  );
}

/** Takes the focus, so that it is read out and the next key is a step further. */
function Outcome({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <section class="card" role="status">
      <h2 ref={heading} tabIndex={-1}>
        {title}
      </h2>
      {children}
    </section>
  );
}
