/**
 * Who looks at the page. Nothing that needs a session is shown without one; the page says how to get one, and goes on by itself
 * when one was opened in another tab.
 */
import { useSignal, type Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { api, openSession, signInText, type Failure } from '../../src/http/pages/session.js';

export interface Caller {
  readonly subject: string;
  readonly role: 'none' | 'viewer' | 'operator' | 'admin';
}

type Session =
  | { readonly kind: 'asking' }
  | { readonly kind: 'out'; readonly why: string }
  | { readonly kind: 'unreachable'; readonly why: string }
  | { readonly kind: 'in'; readonly caller: Caller };

export function mayChange({ role }: Caller): boolean {
  return role === 'operator' || role === 'admin';
}

export function SignedIn({ children }: { readonly children: (caller: Caller) => ComponentChildren }) {
  const session = useSignal<Session>({ kind: 'asking' });
  useEffect(() => {
    void enter(session, openSession());
    const again = () => {
      if (document.visibilityState === 'visible' && session.value.kind !== 'in') void enter(session);
    };
    document.addEventListener('visibilitychange', again);
    window.addEventListener('focus', again);
    return () => {
      document.removeEventListener('visibilitychange', again);
      window.removeEventListener('focus', again);
    };
  }, [session]);

  const now = session.value;
  switch (now.kind) {
    case 'asking':
      return <p class="muted">Asking who you are…</p>;
    case 'in':
      return <>{children(now.caller)}</>;
    case 'out':
      return (
        <section class="card" aria-labelledby="sign-in">
          <h2 id="sign-in">Sign in first</h2>
          <p role="alert">{now.why}</p>
          <p class="muted">Then come back to this page: it goes on by itself.</p>
          <button type="button" onClick={() => void enter(session)}>
            I have signed in
          </button>
        </section>
      );
    case 'unreachable':
      return (
        <section class="card" aria-label="No answer">
          <p role="alert">{now.why}</p>
          <button type="button" onClick={() => void enter(session)}>
            Try again
          </button>
        </section>
      );
  }
}

async function enter(session: Signal<Session>, opened: Promise<void> = Promise.resolve()): Promise<void> {
  try {
    await opened;
    session.value = { kind: 'in', caller: await api<Caller>('/api/session') };
  } catch (error) {
    const failure = error as Failure;
    session.value =
      failure.status === 401 || failure.status === 403
        ? { kind: 'out', why: failure.status === 403 ? failure.message : signInText(failure) }
        : { kind: 'unreachable', why: failureText(failure) };
  }
}

/** What to say about a request that failed for a reason that no page knows better. */
export function failureText(failure: Failure): string {
  if (failure.status === undefined) return 'The control plane does not answer. Is it running?';
  if (failure.status === 401) return signInText(failure);
  if (failure.status === 429) return 'Too many requests. Wait a minute, then try again.';
  return failure.message;
}
