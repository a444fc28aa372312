/** An engine of the order approval, to be killed. Arguments: Redis URL, prefix. */
import { createCastellan } from '../../src/index.ts';
import { orderType, stockType } from '../../examples/order-approval/actor-types.ts';
import { createOutside, createServices } from '../../examples/order-approval/services.ts';

const [redis = '', prefix = ''] = process.argv.slice(2);
const silent = (): void => {};
// The pause after a failed risk check is long, so that whoever watches can kill in the midst of it.
const order = orderType(createServices(silent), createOutside(silent), { clerkMs: 300, managerMs: 600_000, retryMs: 1_500, riskAttemptsMax: 5, riskMax: 0.8 });
await createCastellan({ redis, prefix, types: [order, stockType], settings: { leaseMs: 1_000 }, log: { warn: silent } }).start();
