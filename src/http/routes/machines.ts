/** The registered machines. */
import type { z } from 'zod';
import type { Page, MachineView } from '../../protocol/control-plane.ts';
import { machineView, pageOf, pageQuery } from '../schemas.ts';
import { pageThrough } from './whole-list.ts';
import type { App, RouteContext } from './context.ts';

export function machineRoutes(app: App, { controlPlane }: RouteContext): void {
  app.get('/api/machines', {
    config: { access: 'viewer' },
    schema: {
      summary: 'Actor types with their machines’ definitions',
      tags: ['machines'],
      querystring: pageQuery,
      response: { 200: pageOf(machineView) satisfies z.ZodType<Page<MachineView>> },
    },
    handler: async (request) => pageThrough(await controlPlane.listMachines(), request.query),
  });
}
