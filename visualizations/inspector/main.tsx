/** The web app: one document for several addresses, each a page of its own. Links load anew, so that the browser does what it does well. */
import { render } from 'preact';
import { ApprovePage } from './pages/approve.tsx';
import { DevicePage } from './pages/device.tsx';
import { DevicesPage } from './pages/devices.tsx';
import { SetupPage } from './pages/setup.tsx';

function page() {
  const [, room, id, part] = location.pathname.split('/').map(decodeURIComponent);
  if (room === 'device') return <ApprovePage code={new URLSearchParams(location.search).get('code') ?? ''} />;
  if (id === undefined || id === '') return <DevicesPage />;
  return part === 'setup' ? <SetupPage deviceId={id} /> : <DevicePage deviceId={id} />;
}

render(page(), document.getElementById('app') as HTMLElement);
