// No-op jobs through Pulse: `pulse.mjs queue|work MONGODB_URL JOBS`.
import { readFileSync } from 'node:fs';
import { Pulse } from '@pulsecron/pulse';

const [phase, address, count] = process.argv.slice(2);
const jobs = Number(count);
const { version } = JSON.parse(readFileSync(new URL('node_modules/@pulsecron/pulse/package.json', import.meta.url)));

// The defaults lock the whole backlog before the first run. Never more locks than runs, and a look for
// more every 20 ms, was the fastest of the combinations tried.
const settings = {
  maxConcurrency: 50,
  defaultConcurrency: 50,
  defaultLockLimit: 50,
  processEvery: 20,
  resumeOnRestart: false,
};

const pulse = new Pulse({ db: { address }, ...settings });
await new Promise((resolve) => pulse.once('ready', resolve));

if (phase === 'queue') {
  for (let queued = 0; queued < jobs; queued += 100) {
    await Promise.all(Array.from({ length: 100 }, () => pulse.now('noop', {})));
  }
  process.exit(0);
}

pulse.define('noop', async () => {});
pulse.on('error', (error) => console.error(error));
pulse.on('fail', (error) => console.error(error));
let finished = 0;
let began;
pulse.on('success', () => {
  finished += 1;
  if (finished < jobs) return;
  const seconds = (performance.now() - began) / 1000;
  console.log(JSON.stringify({ peer: 'pulse', version, jobs, seconds, jobs_per_second: jobs / seconds, settings }));
  process.exit(0);
});
began = performance.now();
await pulse.start();
