/**
 * Which addresses may be asked.
 *
 * 1. Only literal addresses: a name could resolve to something else at each look.
 * 2. An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is judged as the IPv4 address that it is.
 */
import { BlockList, isIP } from 'node:net';
import { InvalidSettingError } from '../../protocol/errors.ts';

export type AddressCheck = (address: string) => boolean;

export function allowedNetwork(networks: readonly string[], setting = 'LIVE_NETWORKS'): AddressCheck {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = ''] = network.split('/');
    const family = isIP(address);
    const prefix = Number(bits);
    if (family === 0 || !/^[0-9]{1,3}$/.test(bits) || prefix > (family === 4 ? 32 : 128))
      throw new InvalidSettingError(setting, `must list networks such as 10.0.0.0/8, not ${JSON.stringify(network.slice(0, 60))}.`);
    list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6');
  }
  return (given) => {
    const address = plainAddress(given);
    const family = isIP(address);
    return family !== 0 && !address.includes('%') && list.check(address, family === 4 ? 'ipv4' : 'ipv6');
  };
}

export function isLoopback(given: string): boolean {
  const address = plainAddress(given);
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));
}

/** Upholds (2), for the dotted and the hexadecimal spelling. */
function plainAddress(address: string): string {
  const dotted = /^(?:0{0,4}:){0,5}:?ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const hexadecimal = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address);
  if (hexadecimal === null) return address;
  const high = Number.parseInt(hexadecimal[1] ?? '', 16);
  const low = Number.parseInt(hexadecimal[2] ?? '', 16);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}
