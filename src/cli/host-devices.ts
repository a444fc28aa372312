/**
 * Devices as the control plane runs them: their actor types with what these do to the outside, and the service behind HTTP.
 *
 * The key that signs configurations lies in the data folder; control planes that serve the same nodes share the file.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { DEFAULT_ORG } from '../../machines/node/definition.ts';
import { alertBody, alertMessage, configOutlet, deviceReportsSource, nodeNoticeMessage, type SignConfig } from '../contracts/device-config.ts';
import { createDevices, type DeviceService } from '../devices/devices.ts';
import { deviceTypes } from '../devices/hosted-types.ts';
import { notifyAlertExecutor } from '../devices/notify-alert.ts';
import type { Client } from '../engine/client.ts';
import type { EngineOptions } from '../engine/engine.ts';
import { systemClock } from '../engine/system-clock.ts';
import { webhookPoster } from '../http/live/webhook.ts';
import type { DeviceOptions } from '../http/server.ts';
import { InvalidSettingError } from '../protocol/errors.ts';
import { loadConfigKey } from '../provisioning/config-key.ts';
import { signConfig } from '../provisioning/config-signature.ts';
import { CATALOGUE_SETTING, loadCatalogue, servicesOffered } from '../provisioning/node-catalogue.ts';
import { parseDeviceConfig } from '../provisioning/parse-config.ts';
import type { RedisConnections } from '../redis/connect.ts';
import type { FabricRedis } from '../protocol/fabric-redis.ts';
import type { Environment } from './settings.ts';

export interface HostedDevices {
  readonly engine: Required<Pick<EngineOptions, 'types' | 'sources' | 'outlets'>>;
  /** The service over this client, and what HTTP is told of it. */
  serve(client: Client, fabric: FabricRedis): { readonly service: DeviceService; readonly http: DeviceOptions };
  close(): Promise<void>;
}

/** An HMAC key shorter than this could be guessed. Characters. */
const SECRET_LENGTH_MIN = 16;

export function hostDevices(redis: RedisConnections, environment: Environment, dataDir: string, log: Logger): HostedDevices {
  const key = loadConfigKey(dataDir);
  if (key.tightened) log.warn('The key of configurations could be read by others; its file is now private.');
  const catalogue = loadCatalogue(environment[CATALOGUE_SETTING]);
  const sign: SignConfig = (unsigned) => signConfig(unsigned, key.privateKey);
  const target = webhookTarget(environment);
  const poster = webhookPoster();
  return {
    engine: {
      types: deviceTypes({
        tellNode: async (delivery) => await redis.store.publish([nodeNoticeMessage(delivery, sign)]),
        publishAlert: async (delivery) => await redis.store.publish([alertMessage(delivery)]),
        notifyAlert: notifyAlertExecutor(target === undefined ? undefined : { ...target, encode: alertBody, post: poster.post, now: Date.now }),
      }),
      sources: [deviceReportsSource],
      outlets: [configOutlet(sign)],
    },
    serve(client, fabric) {
      const service = createDevices({
        client,
        reader: redis.reader,
        enrolment: redis.enrolment,
        clock: systemClock,
        randomBytes,
        parseConfig: (value) => parseDeviceConfig(value, catalogue),
        configKey: key.publicKey,
      });
      return { service, http: { devices: service, catalogue: servicesOffered(catalogue), defaultOrg: DEFAULT_ORG, redis: fabric } };
    },
    close: async () => await poster.close(),
  };
}

/** Throws InvalidSettingError for an address that is none, and for one without a secret: an unsigned alert could be anybody's. */
function webhookTarget(environment: Environment): { readonly url: string; readonly secret: string } | undefined {
  const url = environment['ALERT_WEBHOOK_URL']?.trim() ?? '';
  const secret = environment['ALERT_WEBHOOK_SECRET']?.trim() ?? '';
  if (url === '') return undefined;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw new InvalidSettingError('ALERT_WEBHOOK_URL', 'must be an http or https address.');
  if (secret.length < SECRET_LENGTH_MIN)
    throw new InvalidSettingError('ALERT_WEBHOOK_SECRET', `must have at least ${SECRET_LENGTH_MIN} characters: alerts are signed with it.`);
  return { url, secret };
}
