// A Pulse worker for its own job, beside our server on the same collection; its start-up touches everybody's documents.
import { Pulse } from '@pulsecron/pulse';

const [address] = process.argv.slice(2);
const pulse = new Pulse({ db: { address, collection: 'pulseJobs' }, processEvery: 100, name: 'node-worker' });
await new Promise((ready) => pulse.once('ready', ready));
pulse.define('node:own', async (job) => { console.log(`own ${job.attrs.data.n}`); });
await pulse.start();
for (let n = 0; n < 5; n += 1) await pulse.now('node:own', { n });
console.log('started');
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
