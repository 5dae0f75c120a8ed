// Inserts jobs with the real Pulse library, as a Node program that shares the collection would.
import { Pulse, JobPriority } from '@pulsecron/pulse';

const [address] = process.argv.slice(2);
const pulse = new Pulse({ db: { address, collection: 'pulseJobs' }, name: 'node-app', resumeOnRestart: false });
await new Promise((ready) => pulse.once('ready', ready));
pulse.define('node:flaky', async () => {}, {
  priority: JobPriority.high, attempts: 3, backoff: { type: 'exponential', delay: 100 }, shouldSaveResult: true,
});
pulse.define('node:hopeless', async () => {}, { attempts: 2, backoff: { type: 'fixed', delay: 50 } });

await pulse.now('node:echo', { how: 'now' });
await pulse.schedule(new Date(Date.now() + 500), 'node:echo', { how: 'schedule' });
await pulse.schedule(new Date('2099-01-02T03:04:05Z'), 'node:echo', { how: 'far away' });
await pulse.create('node:echo', { how: 'lowest' }).priority('lowest').schedule(new Date()).save();
await pulse.create('node:echo', { how: 'highest' }).priority('highest').schedule(new Date()).save();
const off = pulse.create('node:echo', { how: 'disabled' });
off.schedule(new Date());
await off.disable().save();
await pulse.now('node:flaky', { how: 'retried' });
await pulse.now('node:hopeless', {});
await pulse.every('1 second', 'node:tick', { how: 'every' });
await pulse.every('30 2 * * *', 'node:cron', {}, { timezone: 'America/New_York' });
await pulse.close();
process.exit(0);
