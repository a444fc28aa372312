/** Is the control plane well? Open to all, and answered also under pressure: supervisors decide by it. */
import { healthReport } from '../schemas.ts';
import type { App, RouteContext } from './context.ts';

export function healthRoutes(app: App, { controlPlane }: RouteContext): void {
  app.get('/health', {
    config: { access: 'public', rateLimit: false },
    schema: { summary: 'Health by component', tags: ['operation'], response: { 200: healthReport, 503: healthReport } },
    handler: async (_request, reply) => {
      const report = await controlPlane.health();
      return reply
        .code(report.status === 'healthy' ? 200 : 503)
        .header('cache-control', 'no-store')
        .send(report);
    },
  });
}
