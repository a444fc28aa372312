import { Layout } from '../layout.tsx';

export function SetupPage({ deviceId }: { readonly deviceId: string }) {
  return <Layout title="Set up">{deviceId}</Layout>;
}
