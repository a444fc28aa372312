/** Who this node is: its id and the addresses under which others reach it. */
import { InvalidIdError } from '../protocol/errors.ts';

const NODE_ID = /^[a-zA-Z0-9._-]{1,64}$/;
const NODE_ID_LENGTH_MAX = 64;
/** For a machine whose hostname has no usable character. */
const NODE_ID_FALLBACK = 'node';

/** The id that was asked for, checked (throws {@link InvalidIdError}), else the hostname with other characters replaced. */
export function nodeIdFrom(requested: string | undefined, hostname: string): string {
  if (requested !== undefined) {
    if (!NODE_ID.test(requested)) throw new InvalidIdError('nodeId', requested, NODE_ID);
    return requested;
  }
  const sanitised = hostname.replaceAll(/[^a-zA-Z0-9._-]+/g, '-').slice(0, NODE_ID_LENGTH_MAX);
  return /[a-zA-Z0-9]/.test(sanitised) ? sanitised : NODE_ID_FALLBACK;
}

/** The part of `os.networkInterfaces()` that is looked at. */
export interface InterfaceAddress {
  readonly family: string;
  readonly address: string;
  readonly internal: boolean;
}
export interface NodeAddresses {
  /** In 100.64.0.0/10, the carrier-grade NAT range that Tailscale uses. */
  readonly tailscale?: string;
  /** The first address of RFC 1918 that is not a bridge for containers or virtual machines: those exist on every such machine alike. */
  readonly network?: string;
}

export function nodeAddresses(interfaces: { readonly [name: string]: readonly InterfaceAddress[] | undefined }): NodeAddresses {
  const addresses = Object.entries(interfaces)
    .filter(([name]) => !BRIDGE.test(name))
    .flatMap(([, found]) => found ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
  const tailscale = addresses.find((address) => inRange(address, '100.64.0.0', 10));
  const network = addresses.find((address) => PRIVATE.some(([base, bits]) => inRange(address, base, bits)));
  return { ...(tailscale === undefined ? {} : { tailscale }), ...(network === undefined ? {} : { network }) };
}

const BRIDGE = /^(docker|br-|veth|virbr|cni|flannel|cali|podman|lxc|lxd)/;
const PRIVATE = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const;

function inRange(address: string, base: string, bits: number): boolean {
  const shift = 32 - bits;
  return toInteger(address) >>> shift === toInteger(base) >>> shift;
}

function toInteger(address: string): number {
  return address.split('.').reduce((sum, part) => ((sum << 8) | Number(part)) >>> 0, 0);
}
